/**
 * Chunks of targets, for the prop `chunks`: a queue, the function that consumes it, and the
 * function's role. They are independent of the pipeline, and nothing waits for them.
 *
 * *Invariant*: what the function stores adds no trust. A device checks the digest of the finished
 * target as if it had fetched the whole. So a thief of this role can only cost devices a download.
 */
import { Aws, Duration, Names, Size } from "aws-cdk-lib";
import { PolicyStatement, ServicePrincipal } from "aws-cdk-lib/aws-iam";
import { Architecture, Code, Function as LambdaFunction, IFunction, Runtime } from "aws-cdk-lib/aws-lambda";
import { RetentionDays } from "aws-cdk-lib/aws-logs";
import { CfnBucket, IBucket } from "aws-cdk-lib/aws-s3";
import { IQueue } from "aws-cdk-lib/aws-sqs";
import { Construct } from "constructs";

import { CONSUME, logGroup, role } from "./functions.ts";
import { allow, decrypt, encrypt, list, read } from "./permissions.ts";
import { deadLetterQueue, queue, queuePolicy } from "./queues.ts";

/** The name of the function, and of its queue. */
export const CHUNK = "chunk";

/**
 * Lambda's longest timeout and a whole processor: one run cuts a whole blob, and takes as long as
 * that needs (`docs/cost.md`). The written file is a little larger than the blob.
 */
const SIZE = { timeout: Duration.minutes(15), memory: 1769, storage: Size.mebibytes(1536) };

/**
 * A small limit, since nothing waits for this function: a flood of uploads must leave concurrency
 * for the account's other functions.
 */
const AT_ONCE = 4;

/** The resources that make chunks. */
export interface Chunks {
  readonly queue: IQueue;
  readonly deadLetters: IQueue;
  readonly function: IFunction;
}

/** The queue, which S3 notifies of each new blob. */
export function chunkQueue(scope: Construct, name: string, repository: IBucket, emulator: boolean): Pick<Chunks, "queue" | "deadLetters"> {
  const deadLetters = deadLetterQueue(scope, name, CHUNK);
  queuePolicy(scope, "ChunkDeadLettersPolicy", deadLetters, [], emulator);
  // AWS recommends six timeouts of the function.
  const made = queue(scope, name, CHUNK, Duration.seconds(6 * SIZE.timeout.toSeconds()), deadLetters);
  // As for uploads: the bucket's notification needs this policy first, and the policy can't name
  // the bucket.
  const mayNotify = new PolicyStatement({
    sid: "BucketsOfThisAccount",
    principals: [new ServicePrincipal("s3.amazonaws.com")],
    actions: ["sqs:SendMessage"],
    resources: [made.queueArn],
    conditions: { StringEquals: { "aws:SourceAccount": Aws.ACCOUNT_ID } },
  });
  const policy = queuePolicy(scope, "ChunkQueuePolicy", made, [mayNotify], emulator)!;
  const bucket = repository.node.defaultChild as CfnBucket;
  bucket.notificationConfiguration = {
    queueConfigurations: [
      {
        event: "s3:ObjectCreated:*",
        filter: { s3Key: { rules: [{ name: "prefix", value: "blobs/" }] } },
        queue: made.queueArn,
      },
    ],
  };
  bucket.node.addDependency(policy);
  return { queue: made, deadLetters };
}

/** The function's whole policy, except for its log and its queue. */
function permissions(repository: IBucket): PolicyStatement[] {
  return [
    read(repository, "blobs/*"),
    // To see whether chunks exist already.
    allow(["s3:GetObject", "s3:PutObject"], repository.arnForObjects("chunks/*")),
    list(repository),
    ...decrypt(repository),
    ...encrypt(repository),
  ];
}

export interface ChunkFunctionOptions {
  readonly repository: IBucket;
  readonly queue: IQueue;
  readonly retention: RetentionDays;
  readonly architecture: Architecture;
  readonly code: Code;
  readonly environment: Record<string, string>;
}

/** The function, which consumes the queue. */
export function chunkFunction(scope: Construct, name: string, options: ChunkFunctionOptions): LambdaFunction {
  const { repository, queue, retention, ...rest } = options;
  const log = logGroup(scope, name, CHUNK, retention);
  const statements = [...permissions(repository), allow(CONSUME, queue.queueArn)];
  const made = new LambdaFunction(scope, "Chunk", {
    ...rest,
    functionName: `${name}-${CHUNK}`,
    runtime: Runtime.PROVIDED_AL2023,
    handler: CHUNK,
    role: role(scope, name, CHUNK, log, statements),
    logGroup: log,
    timeout: SIZE.timeout,
    memorySize: SIZE.memory,
    ephemeralStorageSize: SIZE.storage,
  });
  made.addEventSourceMapping(`SqsEventSource:${Names.nodeUniqueId(queue.node)}`, {
    eventSourceArn: queue.queueArn,
    batchSize: 1,
    maxConcurrency: AT_ONCE,
    reportBatchItemFailures: true,
  });
  return made;
}
