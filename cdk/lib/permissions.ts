/**
 * What each function may do: the whole of its IAM policy but for its own log group and its own queue. Who may sign with
 * the online keys stands in the keys' policies (`keys.ts`, by {@link SIGNERS}).
 *
 * *Invariant*: only `sign` can sign with the keys of targets, bins and snapshot; only `publish` and `refresh` can sign with
 * the timestamp's key and write `timestamp.json`; no function can write a root, and none can delete an object; `serve` and
 * `pack` can only read, and the same but for chunks.
 */
import { Aws } from "aws-cdk-lib";
import { IEventBus } from "aws-cdk-lib/aws-events";
import { Effect, PolicyStatement } from "aws-cdk-lib/aws-iam";
import { IBucket } from "aws-cdk-lib/aws-s3";
import { IQueue } from "aws-cdk-lib/aws-sqs";

/** The functions, each named as its stage. The name is also the function's handler. */
export const STAGES = ["hash", "large", "rebuild", "sign", "publish", "refresh", "serve", "pack"] as const;
export type Stage = (typeof STAGES)[number];

/** Those that devices ask, by the API: what they fail at is seen there. */
export const ASKED_BY_DEVICES: readonly Stage[] = ["serve", "pack"];

/** What the functions run: `cdk/bundle` makes a folder of each. */
export const PROGRAMS = ["pipeline", "devices"] as const;
export type Program = (typeof PROGRAMS)[number];

/** The program of a function, which knows by its handler's name which function it is. */
export function programOf(stage: Stage): Program {
  return ASKED_BY_DEVICES.includes(stage) ? "devices" : "pipeline";
}

/** The queues of the pipeline, each named as its messages. */
export const QUEUES = ["uploads", "large", "changes", "sign", "publish"] as const;
export type QueueName = (typeof QUEUES)[number];

/** The roles whose keys are in KMS. */
export const ONLINE_KEYS = ["targets", "bins", "snapshot", "timestamp"] as const;
export type OnlineKey = (typeof ONLINE_KEYS)[number];

/** Which stages may sign with which key. */
export const SIGNERS: Record<OnlineKey, Stage[]> = {
  targets: ["sign"],
  bins: ["sign"],
  snapshot: ["sign"],
  timestamp: ["publish", "refresh"],
};

/** Which stages may read the public key as well: they must know whether another one signs now. */
export const READERS: Record<OnlineKey, Stage[]> = {
  targets: ["refresh"],
  bins: ["rebuild", "publish", "refresh"],
  snapshot: ["refresh"],
  timestamp: [],
};

/** What the permissions are about. */
export interface Resources {
  readonly uploads: IBucket;
  readonly uploadsPrefix: string;
  readonly repository: IBucket;
  readonly ledger: IBucket;
  readonly queues: Record<QueueName, IQueue>;
  readonly deadLetters: Record<QueueName, IQueue>;
  readonly bus: IEventBus;
  /** Of blobs that are to be cut, where they are. */
  readonly chunks?: { readonly queue: IQueue; readonly deadLetters: IQueue };
}

export function allow(actions: string[], ...resources: string[]): PolicyStatement {
  return new PolicyStatement({ actions, resources });
}

export function read(bucket: IBucket, ...keys: string[]): PolicyStatement {
  return allow(["s3:GetObject"], ...keys.map((key) => bucket.arnForObjects(key)));
}

export function write(bucket: IBucket, ...keys: string[]): PolicyStatement {
  return allow(["s3:PutObject"], ...keys.map((key) => bucket.arnForObjects(key)));
}

/** Without this S3 answers 403 for a key that isn't there. A prefix condition would bring that back, hence none. */
export function list(...buckets: IBucket[]): PolicyStatement {
  return allow(["s3:ListBucket"], ...buckets.map((bucket) => bucket.bucketArn));
}

/** Uploads are always read by version: what is current may change between two requests. */
export function readUploads({ uploads, uploadsPrefix }: Resources): PolicyStatement[] {
  return [
    allow(["s3:GetObject", "s3:GetObjectVersion"], uploads.arnForObjects(`${uploadsPrefix}*`)),
    allow(["s3:ListBucket", "s3:ListBucketVersions"], uploads.bucketArn),
  ];
}

/** What other parties deliver, beside the uploads. */
function readDeliveries({ uploads }: Resources): PolicyStatement {
  return allow(["s3:GetObject", "s3:GetObjectVersion"], uploads.arnForObjects("delegations/*"));
}

export function send(...queues: IQueue[]): PolicyStatement {
  return allow(["sqs:SendMessage"], ...queues.map((queue) => queue.queueArn));
}

/**
 * The use of the keys that buckets encrypt with, where they have any, through S3 only. Reading needs it, and so does the
 * checksum in a HEAD's answer (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html>).
 */
function useKeys(action: string, buckets: IBucket[]): PolicyStatement[] {
  const keys = new Set(buckets.flatMap(({ encryptionKey }) => (encryptionKey ? [encryptionKey.keyArn] : [])));
  if (keys.size === 0) return [];
  const statement = allow([action], ...keys);
  statement.addCondition("StringEquals", { "kms:ViaService": `s3.${Aws.REGION}.${Aws.URL_SUFFIX}` });
  return [statement];
}

export function decrypt(...buckets: IBucket[]): PolicyStatement[] {
  return useKeys("kms:Decrypt", buckets);
}

/** For writing. The parts of a multipart upload need {@link decrypt} too, which every writer has. */
export function encrypt(...buckets: IBucket[]): PolicyStatement[] {
  return useKeys("kms:GenerateDataKey", buckets);
}

function announce(bus: IEventBus): PolicyStatement {
  return allow(["events:PutEvents"], bus.eventBusArn);
}

/** What `hash` does with each upload, and `large` with a large one. */
function hashing(resources: Resources): PolicyStatement[] {
  const { uploads, repository, ledger, queues, bus } = resources;
  return [
    ...readUploads(resources),
    allow(
      ["s3:GetObject", "s3:PutObject"],
      repository.arnForObjects("incoming/*"),
      repository.arnForObjects("blobs/*"),
      ledger.arnForObjects("hashed/*"),
      ledger.arnForObjects("rejected/*"),
    ),
    list(repository, ledger),
    ...decrypt(uploads, repository, ledger),
    ...encrypt(repository, ledger),
    send(queues.changes, queues.large),
    announce(bus),
  ];
}

/**
 * What `sign` and `publish` read, each by itself, to judge whether a generation follows from what was uploaded, delivered and
 * decided: whoever writes generations is not believed.
 */
function judging(resources: Resources): PolicyStatement[] {
  const records = ["generations/*", "index/*", "drafts/*", "hashed/*", "parties/*", "delivered/*", "decisions/*"];
  return [
    ...readUploads(resources),
    read(resources.ledger, ...records),
    // Bytes of which S3 keeps no digest are copied, so that it says one. Nobody reads the copy.
    write(resources.repository, "checked/*"),
  ];
}

/** The policy of one stage. Read it beside the stage's step in ARCHITECTURE.md, "The way of one artifact". */
export function permissions(stage: Stage, resources: Resources): PolicyStatement[] {
  const { uploads, repository, ledger, queues, deadLetters, bus } = resources;
  switch (stage) {
    case "hash":
      return [...hashing(resources), readDeliveries(resources)];
    case "large":
      return [
        ...hashing(resources),
        allow(["s3:GetObject", "s3:PutObject"], ledger.arnForObjects("hashing/*")),
        // The largest are copied in parts. Each run asks which are there: those of an earlier one too.
        allow(["s3:ListMultipartUploadParts"], repository.arnForObjects("blobs/*")),
        allow(["s3:ListBucketMultipartUploads"], repository.bucketArn),
      ];
    case "rebuild":
      return [
        ...readUploads(resources),
        readDeliveries(resources),
        // Whether the bytes are there that another party lists.
        // And what is published, where a draft of it was lost.
        read(repository, "metadata/*", "blobs/*"),
        read(ledger, "generations/*", "index/*", "drafts/*", "hashed/*", "rejected/*", "refused/*", "removals-accepted.json"),
        read(ledger, "parties/*", "delivered/*", "decisions/*"),
        write(ledger, "generations/*", "index/*", "drafts/*", "rejected/*", "held/*", "parties/*", "delivered/*"),
        // Of the repository too: before `tufline init` there is no timestamp.
        list(repository, ledger),
        ...decrypt(uploads, repository, ledger),
        ...encrypt(ledger),
        send(queues.sign, queues.uploads),
        announce(bus),
      ];
    case "sign":
      return [
        ...judging(resources),
        read(repository, "metadata/*"),
        // All that has a version in its name, and so two dots: not `timestamp.json`.
        write(repository, "metadata/*.*.json"),
        new PolicyStatement({
          sid: "NeverARoot",
          effect: Effect.DENY,
          actions: ["s3:PutObject"],
          resources: [repository.arnForObjects("metadata/*.root.json")],
        }),
        read(ledger, "refused/*"),
        write(ledger, "refused/*"),
        list(repository, ledger),
        ...decrypt(uploads, repository, ledger),
        ...encrypt(repository, ledger),
        send(queues.publish, queues.changes, queues.uploads),
        announce(bus),
      ];
    case "publish":
      return [
        ...judging(resources),
        read(repository, "metadata/*", "blobs/*"),
        write(repository, "metadata/timestamp.json"),
        read(ledger, "announced.json", "refused/*", "root-intent.json"),
        write(ledger, "announced.json", "refused/*"),
        list(repository, ledger),
        ...decrypt(uploads, repository, ledger),
        ...encrypt(repository, ledger),
        send(queues.changes, queues.sign, queues.uploads),
        announce(bus),
      ];
    case "refresh":
      return [
        read(repository, "metadata/*"),
        write(repository, "metadata/timestamp.json"),
        read(ledger, "generations/*", "refused/*", "index/*", "parties/*", "decisions/*", "announced.json", "root-intent.json"),
        write(ledger, "announced.json"),
        list(repository, ledger),
        ...decrypt(repository, ledger),
        ...encrypt(repository, ledger),
        allow(["sqs:SendMessage", "sqs:GetQueueAttributes"], ...Object.values(queues).map((queue) => queue.queueArn)),
        allow(
          ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"],
          ...Object.values(deadLetters).map((queue) => queue.queueArn),
        ),
        announce(bus),
      ];
    case "serve":
    case "pack":
      return [
        // Targets are answered by a link to their blob, signed with this right. A pack is made of what serve would answer, each
        // file by itself, but has no chunks in it.
        read(repository, "metadata/*", "blobs/*", ...(stage === "serve" ? ["chunks/*"] : [])),
        // A device walks the roots until one is missing: that must be 404, and not 403.
        list(repository),
        ...decrypt(repository),
      ];
  }
}
