/**
 * What each function may do: its whole IAM policy, except for its own log group and its own queue.
 * The keys' policies (`keys.ts`, by {@link SIGNERS}) say who may sign with the online keys.
 *
 * *Invariant*: only `sign` can sign with the keys of targets, bins and snapshot. Only `publish` and
 * `refresh` can sign with the timestamp's key and write `timestamp.json`. No function can write a
 * root, and none can delete an object. `serve` and `pack` can only read, and both may read the
 * same.
 */
import { Aws } from "aws-cdk-lib";
import { IEventBus } from "aws-cdk-lib/aws-events";
import { Effect, PolicyStatement } from "aws-cdk-lib/aws-iam";
import { IBucket } from "aws-cdk-lib/aws-s3";
import { IQueue } from "aws-cdk-lib/aws-sqs";

/** The functions, each named after its stage. The name is also the function's handler. */
export const STAGES = ["hash", "large", "rebuild", "sign", "publish", "refresh", "serve", "pack"] as const;
export type Stage = (typeof STAGES)[number];

/** The functions that devices reach through the API. Its metrics show their errors. */
export const ASKED_BY_DEVICES: readonly Stage[] = ["serve", "pack"];

/** The programs of the functions; `cdk/bundle` makes a folder for each. */
export const PROGRAMS = ["pipeline", "devices"] as const;
export type Program = (typeof PROGRAMS)[number];

/** The program of a function. The program tells its functions apart by the handler's name. */
export function programOf(stage: Stage): Program {
  return ASKED_BY_DEVICES.includes(stage) ? "devices" : "pipeline";
}

/** The queues of the pipeline, each named after its messages. */
export const QUEUES = ["uploads", "large", "changes", "sign", "publish"] as const;
export type QueueName = (typeof QUEUES)[number];

/** The roles whose keys are in KMS. */
export const ONLINE_KEYS = ["targets", "bins", "snapshot", "timestamp"] as const;
export type OnlineKey = (typeof ONLINE_KEYS)[number];

/** The stages that may sign with each key. */
export const SIGNERS: Record<OnlineKey, Stage[]> = {
  targets: ["sign"],
  bins: ["sign"],
  snapshot: ["sign"],
  timestamp: ["publish", "refresh"],
};

/** Further stages that may read the public key: they must know whether another key signs now. */
export const READERS: Record<OnlineKey, Stage[]> = {
  targets: ["refresh"],
  bins: ["rebuild", "publish", "refresh"],
  snapshot: ["refresh"],
  timestamp: [],
};

/** The resources that the permissions refer to. */
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

/**
 * Without this right, S3 answers 403 for a missing key instead of 404. There is no prefix
 * condition, since it would bring the 403 back.
 */
export function list(...buckets: IBucket[]): PolicyStatement {
  return allow(["s3:ListBucket"], ...buckets.map((bucket) => bucket.bucketArn));
}

/**
 * The right to read uploads, always by version: the current version may change between two
 * requests.
 */
export function readUploads({ uploads, uploadsPrefix }: Resources): PolicyStatement[] {
  return [
    allow(["s3:GetObject", "s3:GetObjectVersion"], uploads.arnForObjects(`${uploadsPrefix}*`)),
    allow(["s3:ListBucket", "s3:ListBucketVersions"], uploads.bucketArn),
  ];
}

/** The right to read what other parties deliver, beside the uploads. */
function readDeliveries({ uploads }: Resources): PolicyStatement {
  return allow(["s3:GetObject", "s3:GetObjectVersion"], uploads.arnForObjects("delegations/*"));
}

export function send(...queues: IQueue[]): PolicyStatement {
  return allow(["sqs:SendMessage"], ...queues.map((queue) => queue.queueArn));
}

/**
 * The right to use the buckets' encryption keys, if any, through S3 only. Reading needs it, and so
 * does the checksum in the answer to a HEAD
 * (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html>).
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

/** For writing. Parts of a multipart upload also need {@link decrypt}, which every writer has. */
export function encrypt(...buckets: IBucket[]): PolicyStatement[] {
  return useKeys("kms:GenerateDataKey", buckets);
}

function announce(bus: IEventBus): PolicyStatement {
  return allow(["events:PutEvents"], bus.eventBusArn);
}

/** The rights of `hash` for every upload, and of `large` for a large one. */
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
 * What `sign` and `publish` each read to judge whether a generation follows from the uploads,
 * deliveries and decisions. They trust no writer of generations.
 */
function judging(resources: Resources): PolicyStatement[] {
  const records = ["generations/*", "index/*", "drafts/*", "hashed/*", "parties/*", "delivered/*", "decisions/*"];
  return [
    ...readUploads(resources),
    read(resources.ledger, ...records),
    // Objects without a digest in S3 are copied, so that S3 computes one. Nobody reads the copy.
    write(resources.repository, "checked/*"),
  ];
}

/**
 * The policy of one stage. Read it beside the stage's step in ARCHITECTURE.md, "The way of one
 * artifact".
 */
export function permissions(stage: Stage, resources: Resources): PolicyStatement[] {
  const { uploads, repository, ledger, queues, deadLetters, bus } = resources;
  switch (stage) {
    case "hash":
      return [...hashing(resources), readDeliveries(resources)];
    case "large":
      return [
        ...hashing(resources),
        allow(["s3:GetObject", "s3:PutObject"], ledger.arnForObjects("hashing/*")),
        // The largest uploads are copied in parts. Each run lists the existing parts, including
        // those of an earlier run.
        allow(["s3:ListMultipartUploadParts"], repository.arnForObjects("blobs/*")),
        allow(["s3:ListBucketMultipartUploads"], repository.bucketArn),
      ];
    case "rebuild":
      return [
        ...readUploads(resources),
        readDeliveries(resources),
        // To check that the blobs that another party lists exist, and to read a published document
        // whose draft was lost.
        read(repository, "metadata/*", "blobs/*"),
        read(ledger, "generations/*", "index/*", "drafts/*", "hashed/*", "rejected/*", "refused/*", "removals-accepted.json"),
        read(ledger, "parties/*", "delivered/*", "decisions/*"),
        write(ledger, "generations/*", "index/*", "drafts/*", "rejected/*", "held/*", "parties/*", "delivered/*"),
        // The repository too: before `tufline init` there is no timestamp.
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
        // Every name with a version has two dots. `timestamp.json` doesn't match.
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
        // Serve answers a large target with a link to its blob, which it signs with this right. A
        // pack consists of files that serve would answer one by one, but contains no chunks.
        read(repository, "metadata/*", "blobs/*", ...(stage === "serve" ? ["chunks/*"] : [])),
        // A device fetches roots until one is missing: S3 must answer 404 then, not 403.
        list(repository),
        ...decrypt(repository),
      ];
  }
}
