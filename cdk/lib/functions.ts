/** The functions, one for each stage, and their roles. */
import { Duration, Names, RemovalPolicy } from "aws-cdk-lib";
import { PolicyDocument, PolicyStatement, Role, ServicePrincipal } from "aws-cdk-lib/aws-iam";
import {
  Architecture,
  Code,
  EventInvokeConfigOptions,
  EventSourceMappingOptions,
  Function as LambdaFunction,
  RecursiveLoop,
  Runtime,
} from "aws-cdk-lib/aws-lambda";
import { LogGroup, RetentionDays } from "aws-cdk-lib/aws-logs";
import { IQueue } from "aws-cdk-lib/aws-sqs";
import { Construct } from "constructs";

import { capitalized } from "./names.ts";
import { allow, QueueName, Stage } from "./permissions.ts";
import { acknowledgeWildcards } from "./wildcards.ts";

/**
 * The timeout of each stage, in seconds, and its memory, in MiB: the one place to change them.
 *
 * The memory decides the share of a processor too. 1,769 MB give one vCPU
 * (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>), so 256 MB give a
 * seventh, 512 three tenths, and 1,024 six tenths. Work on the processor (parsing, verifying,
 * hashing, and making requests) takes as many times longer; waiting for S3 or KMS does not.
 * docs/scale.md, "What the functions need", has the measurements.
 */
const SIZES: Record<Stage, { timeout: number; memory: number }> = {
  hash: { timeout: 60, memory: 512 },
  // The longest timeout that Lambda has: S3 may take minutes to copy 5 GB, and a read continues in
  // the next run. A run holds at most 64 MB, whatever it reads. The rest of the memory is for the
  // share of a processor that comes with it.
  large: { timeout: 900, memory: 1024 },
  // Three times the time for the largest generation on a whole processor. A crash in one of these
  // stages blocks the following work until the message is visible again, so they must time out
  // soon. Sign and publish stop by themselves before the timeout and continue in the next run.
  rebuild: { timeout: 60, memory: 1769 },
  sign: { timeout: 60, memory: 1769 },
  publish: { timeout: 60, memory: 1769 },
  refresh: { timeout: 60, memory: 512 },
  // A device is waiting. The function's own retries of S3 end before this.
  serve: { timeout: 10, memory: 512 },
  // The same, plus a cache in memory of what was read.
  pack: { timeout: 10, memory: 512 },
};

/**
 * AWS recommends a visibility timeout of six times the function's timeout, so that throttled
 * batches aren't lost.
 */
const VISIBILITY_PER_TIMEOUT = 6;

/** The stage that consumes each queue. */
const CONSUMERS: Record<QueueName, Stage> = {
  uploads: "hash",
  large: "large",
  changes: "rebuild",
  sign: "sign",
  publish: "publish",
};

/**
 * Allows loops for stages that consume a queue. Each of them sends to another queue, and the chain
 * comes back: a large upload takes a message for each run, and sign, publish and rebuild call each
 * other as long as there is work. By default Lambda would end such a chain after some 16
 * invocations, together with its work
 * (<https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html>; the SDK for Rust
 * passes on the chain's id too). The stages themselves make sure that no chain runs without work:
 * `functions/pipeline/src/stages/`.
 */
const recursiveLoop = (stage: Stage) => {
  return Object.values(CONSUMERS).includes(stage) ? { recursiveLoop: RecursiveLoop.ALLOW } : {};
};

/**
 * How Lambda treats refresh's event, which the schedule only hands over. By default Lambda would
 * retry a failed run twice, and would retry for six hours if there was no concurrency
 * (<https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html>); after an
 * outage all of these runs would come at once. The next minute brings a new event anyway.
 */
const WOKEN_BY_SCHEDULE: EventInvokeConfigOptions = { retryAttempts: 0, maxEventAge: Duration.minutes(1) };

/** The batches in which Lambda reads a queue. */
function batches(queue: QueueName, changesWindow: Duration): EventSourceMappingOptions {
  switch (queue) {
    case "uploads":
      // AWS requires a window of at least one second if a batch may have more than 10 messages. The
      // limit leaves concurrency for the account's other functions during a flood of uploads.
      return { batchSize: 100, maxBatchingWindow: Duration.seconds(1), maxConcurrency: 50 };
    case "large":
      // One upload per invocation, ten at once. The eleventh waits until one of these ends its run.
      return { batchSize: 1, maxConcurrency: 10 };
    case "changes":
      // Few, large batches: each makes one generation, and two competing attempts at one generation
      // cost more than they gain.
      return { batchSize: 10_000, maxBatchingWindow: changesWindow, maxConcurrency: 2 };
    case "sign":
    case "publish":
      return { batchSize: 10 };
  }
}

/**
 * How long a queue's messages stay hidden: the batching window plus six timeouts of the function.
 */
export function visibilityTimeout(queue: QueueName, changesWindow: Duration): Duration {
  const { maxBatchingWindow = Duration.seconds(0) } = batches(queue, changesWindow);
  return Duration.seconds(SIZES[CONSUMERS[queue]].timeout * VISIBILITY_PER_TIMEOUT + maxBatchingWindow.toSeconds());
}

/**
 * The rights that an event source mapping needs
 * (<https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html>).
 */
export const CONSUME = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"];

/** With this right, a stage makes a failed message visible again soon. */
const RETURN_SOON = "sqs:ChangeMessageVisibility";

/** Connects a queue to its stage. Only the failed messages of a batch come again. */
export function consume(
  functions: Record<Stage, LambdaFunction>,
  name: QueueName,
  queue: IQueue,
  changesWindow: Duration,
): void {
  const consumer = functions[CONSUMERS[name]];
  // Not CDK's `SqsEventSource`, which grants more than a mapping needs.
  consumer.addToRolePolicy(allow([...CONSUME, RETURN_SOON], queue.queueArn));
  consumer.addEventSourceMapping(`SqsEventSource:${Names.nodeUniqueId(queue.node)}`, {
    ...batches(name, changesWindow),
    eventSourceArn: queue.queueArn,
    reportBatchItemFailures: true,
  });
}

/** The log group of a function. */
export function logGroup(scope: Construct, repository: string, name: string, retention: RetentionDays): LogGroup {
  return new LogGroup(scope, `${capitalized(name)}Log`, {
    logGroupName: `/aws/lambda/${repository}-${name}`,
    retention,
    removalPolicy: RemovalPolicy.DESTROY,
  });
}

/** A function's role: it allows `statements`, and writing to the function's log. */
export function role(
  scope: Construct,
  repository: string,
  name: string,
  log: LogGroup,
  statements: PolicyStatement[],
): Role {
  const writeLog = new PolicyStatement({
    actions: ["logs:CreateLogStream", "logs:PutLogEvents"],
    resources: [log.logGroupArn],
  });
  const role = new Role(scope, `${capitalized(name)}Role`, {
    description: `The ${name} function of ${repository}`,
    assumedBy: new ServicePrincipal("lambda.amazonaws.com"),
    inlinePolicies: { [name]: new PolicyDocument({ statements: [writeLog, ...statements] }) },
  });
  const reason = "Objects below fixed prefixes: each upload brings new names, made of digests and numbers";
  acknowledgeWildcards(role, statements, reason);
  return role;
}

/** The options of all functions. */
export interface FunctionOptions {
  readonly code: Code;
  readonly architecture: Architecture;
  readonly environment: Record<string, string>;
}

/** The concurrency that is reserved for a stage, if any. */
function reserved(stage: Stage, concurrency: Partial<Record<Stage, number>>): { reservedConcurrentExecutions?: number } {
  const reserved = concurrency[stage];
  return reserved === undefined ? {} : { reservedConcurrentExecutions: reserved };
}

/** The Lambda function of a stage. */
export function stageFunction(
  scope: Construct,
  repository: string,
  stage: Stage,
  log: LogGroup,
  role: Role,
  concurrency: Partial<Record<Stage, number>>,
  options: FunctionOptions,
): LambdaFunction {
  const { timeout, memory } = SIZES[stage];
  return new LambdaFunction(scope, capitalized(stage), {
    ...options,
    functionName: `${repository}-${stage}`,
    runtime: Runtime.PROVIDED_AL2023,
    handler: stage,
    role,
    logGroup: log,
    timeout: Duration.seconds(timeout),
    memorySize: memory,
    ...reserved(stage, concurrency),
    ...recursiveLoop(stage),
    ...(stage === "refresh" && WOKEN_BY_SCHEDULE),
  });
}
