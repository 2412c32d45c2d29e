/**
 * What each function may do: the whole of its IAM policy but for its own log group and its own queue.
 *
 * *Invariant*: only `sign` can use the keys of targets, bins and snapshot; only `publish` and `refresh` can use the
 * timestamp's key and write `timestamp.json`; no function can write a root, and none can delete an object.
 */
import { IEventBus } from "aws-cdk-lib/aws-events";
import { Effect, PolicyStatement } from "aws-cdk-lib/aws-iam";
import { IKey } from "aws-cdk-lib/aws-kms";
import { IBucket } from "aws-cdk-lib/aws-s3";
import { IQueue } from "aws-cdk-lib/aws-sqs";

/** The functions of the pipeline, each named as its stage. The name is also the function's handler. */
export const STAGES = ["hash", "rebuild", "sign", "publish", "refresh"] as const;
export type Stage = (typeof STAGES)[number];

/** The queues of the pipeline, each named as its messages. */
export const QUEUES = ["uploads", "changes", "sign", "publish"] as const;
export type QueueName = (typeof QUEUES)[number];

/** The roles whose keys are in KMS. */
export const ONLINE_KEYS = ["targets", "bins", "snapshot", "timestamp"] as const;
export type OnlineKey = (typeof ONLINE_KEYS)[number];

/** What the permissions are about. */
export interface Resources {
  readonly uploads: IBucket;
  readonly uploadsPrefix: string;
  readonly repository: IBucket;
  readonly ledger: IBucket;
  readonly queues: Record<QueueName, IQueue>;
  readonly deadLetters: Record<QueueName, IQueue>;
  readonly keys: Record<OnlineKey, IKey>;
  readonly bus: IEventBus;
}

function allow(actions: string[], ...resources: string[]): PolicyStatement {
  return new PolicyStatement({ actions, resources });
}

function read(bucket: IBucket, ...keys: string[]): PolicyStatement {
  return allow(["s3:GetObject"], ...keys.map((key) => bucket.arnForObjects(key)));
}

function write(bucket: IBucket, ...keys: string[]): PolicyStatement {
  return allow(["s3:PutObject"], ...keys.map((key) => bucket.arnForObjects(key)));
}

/** Without this S3 answers 403 for a key that isn't there. A prefix condition would bring that back, hence none. */
function list(...buckets: IBucket[]): PolicyStatement {
  return allow(["s3:ListBucket"], ...buckets.map((bucket) => bucket.bucketArn));
}

/** Uploads are always read by version: what is current may change between two requests. */
function readUploads({ uploads, uploadsPrefix }: Resources): PolicyStatement[] {
  return [
    allow(["s3:GetObject", "s3:GetObjectVersion"], uploads.arnForObjects(`${uploadsPrefix}*`)),
    allow(["s3:ListBucket", "s3:ListBucketVersions"], uploads.bucketArn),
  ];
}

function send(...queues: IQueue[]): PolicyStatement {
  return allow(["sqs:SendMessage"], ...queues.map((queue) => queue.queueArn));
}

function sign(...keys: IKey[]): PolicyStatement {
  return allow(["kms:Sign", "kms:GetPublicKey"], ...keys.map((key) => key.keyArn));
}

function announce(bus: IEventBus): PolicyStatement {
  return allow(["events:PutEvents"], bus.eventBusArn);
}

/** The policy of one stage. Read it beside the stage's line in the table of the pipeline (ARCHITECTURE.md). */
export function permissions(stage: Stage, resources: Resources): PolicyStatement[] {
  const { repository, ledger, queues, deadLetters, keys, bus } = resources;
  switch (stage) {
    case "hash":
      return [
        ...readUploads(resources),
        allow(
          ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"],
          repository.arnForObjects("blobs/*"),
          repository.arnForObjects("incoming/*"),
        ),
        allow(["s3:GetObject", "s3:PutObject"], ledger.arnForObjects("hashed/*"), ledger.arnForObjects("rejected/*")),
        list(repository, ledger),
        send(queues.changes),
        announce(bus),
      ];
    case "rebuild":
      return [
        ...readUploads(resources),
        read(repository, "metadata/*"),
        read(ledger, "*"),
        write(ledger, "drafts/*", "generations/*", "held/*"),
        list(repository, ledger),
        send(queues.sign, queues.uploads),
        announce(bus),
      ];
    case "sign":
      return [
        read(repository, "metadata/*"),
        write(repository, "metadata/*.json"),
        new PolicyStatement({
          sid: "NeverTheTimestampNorARoot",
          effect: Effect.DENY,
          actions: ["s3:PutObject"],
          resources: [
            repository.arnForObjects("metadata/timestamp.json"),
            repository.arnForObjects("metadata/*.root.json"),
          ],
        }),
        read(ledger, "generations/*", "drafts/*"),
        list(repository, ledger),
        sign(keys.targets, keys.bins, keys.snapshot),
        send(queues.publish),
      ];
    case "publish":
      return [
        read(repository, "metadata/*", "blobs/*"),
        write(repository, "metadata/timestamp.json"),
        read(ledger, "*"),
        write(ledger, "announced.json", "refused/*"),
        list(repository, ledger),
        sign(keys.timestamp),
        send(queues.changes, queues.sign),
        announce(bus),
      ];
    case "refresh":
      return [
        read(repository, "metadata/*"),
        write(repository, "metadata/timestamp.json"),
        read(ledger, "*"),
        write(ledger, "announced.json"),
        list(repository, ledger),
        sign(keys.timestamp),
        send(...Object.values(queues)),
        allow(["sqs:GetQueueAttributes"], ...Object.values(queues).map((queue) => queue.queueArn)),
        allow(
          ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"],
          ...Object.values(deadLetters).map((queue) => queue.queueArn),
        ),
        announce(bus),
      ];
  }
}
