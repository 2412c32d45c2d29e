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
 * How long each stage may run, in seconds, and its memory, in MiB: the one place to change them.
 *
 * The memory decides on the processor too: 1,769 MB are one vCPU
 * (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>), so 256 are a seventh of one, 512 three tenths, 1,024 six tenths. What
 * takes a processor, parsing, verifying, hashing and the requests themselves, takes that many times longer than on a whole one; what waits for
 * S3 or KMS does not. What each stage needs is measured: docs/scale.md, "What the functions need".
 */
const SIZES: Record<Stage, { timeout: number; memory: number }> = {
  hash: { timeout: 60, memory: 512 },
  // The longest that there is: S3 may take minutes to copy 5 GB, and reading goes on in the next run. It holds 64 MB at
  // most, whatever it reads; the rest is for the share of a processor that comes with it.
  large: { timeout: 900, memory: 1024 },
  // Three times what the largest generation takes on a whole processor. A crash in one of these holds what follows until the message is visible
  // again, so they must time out soon; sign and publish end by themselves before that, and go on in the next run.
  rebuild: { timeout: 60, memory: 1769 },
  sign: { timeout: 60, memory: 1769 },
  publish: { timeout: 60, memory: 1769 },
  refresh: { timeout: 60, memory: 512 },
  // A device waits. Its own tries towards S3 end before that.
  serve: { timeout: 10, memory: 512 },
  // The same, and what was read once is kept in memory.
  pack: { timeout: 10, memory: 512 },
};

/** AWS asks for a visibility timeout of six times the function's timeout, so that throttled batches aren't lost. */
const VISIBILITY_PER_TIMEOUT = 6;

/** Which stage works off which queue. */
const CONSUMERS: Record<QueueName, Stage> = {
  uploads: "hash",
  large: "large",
  changes: "rebuild",
  sign: "sign",
  publish: "publish",
};

/**
 * Whatever works off a queue sends to another, and all of them come back: a large upload takes a message for each run, and sign, publish
 * and rebuild call each other for as long as there is something to do. Lambda would end such a chain after some 16 invocations
 * (<https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html>; the SDK for Rust hands on the chain's id too), and what
 * was to be done with it. That no chain goes on for nothing is the stages' own affair: `functions/pipeline/src/stages/`.
 */
const recursiveLoop = (stage: Stage) => {
  return Object.values(CONSUMERS).includes(stage) ? { recursiveLoop: RecursiveLoop.ALLOW } : {};
};

/**
 * The schedule only hands refresh's event to Lambda, which would try a run that failed twice more, and one for which there was no
 * concurrency for six hours (<https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html>): after an outage all of
 * them at once. The next minute comes anyway.
 */
const WOKEN_BY_SCHEDULE: EventInvokeConfigOptions = { retryAttempts: 0, maxEventAge: Duration.minutes(1) };

/** In what batches a queue's messages come. */
function batches(queue: QueueName, changesWindow: Duration): EventSourceMappingOptions {
  switch (queue) {
    case "uploads":
      // AWS wants a window of a second at least where a batch may exceed 10 messages. A flood of uploads must leave the
      // account's other functions their share of its concurrency.
      return { batchSize: 100, maxBatchingWindow: Duration.seconds(1), maxConcurrency: 50 };
    case "large":
      // One at a time, each in its own function; what would be the eleventh has its turn when one of these ends its run.
      return { batchSize: 1, maxConcurrency: 10 };
    case "changes":
      // Few and large batches: each makes one generation, and two attempts at the same one cost more than they gain.
      return { batchSize: 10_000, maxBatchingWindow: changesWindow, maxConcurrency: 2 };
    case "sign":
    case "publish":
      return { batchSize: 10 };
  }
}

/** How long a queue's messages stay hidden: while they are collected, and for six timeouts of the function. */
export function visibilityTimeout(queue: QueueName, changesWindow: Duration): Duration {
  const { maxBatchingWindow = Duration.seconds(0) } = batches(queue, changesWindow);
  return Duration.seconds(SIZES[CONSUMERS[queue]].timeout * VISIBILITY_PER_TIMEOUT + maxBatchingWindow.toSeconds());
}

/**
 * What a mapping needs (<https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html>), and what lets a stage have
 * a failed message again soon.
 */
export const CONSUME = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility"];

/** Has the stage work off its queue. Messages that failed come again, the others of their batch don't. */
export function consume(
  functions: Record<Stage, LambdaFunction>,
  name: QueueName,
  queue: IQueue,
  changesWindow: Duration,
): void {
  const consumer = functions[CONSUMERS[name]];
  // Not CDK's `SqsEventSource`, which grants more than a mapping needs.
  consumer.addToRolePolicy(allow(CONSUME, queue.queueArn));
  consumer.addEventSourceMapping(`SqsEventSource:${Names.nodeUniqueId(queue.node)}`, {
    ...batches(name, changesWindow),
    eventSourceArn: queue.queueArn,
    reportBatchItemFailures: true,
  });
}

/** A stage's log. */
export function logGroup(scope: Construct, repository: string, stage: Stage, retention: RetentionDays): LogGroup {
  return new LogGroup(scope, `${capitalized(stage)}Log`, {
    logGroupName: `/aws/lambda/${repository}-${stage}`,
    retention,
    removalPolicy: RemovalPolicy.DESTROY,
  });
}

/** A stage's role: what `statements` allow, and writing to its log. */
export function role(
  scope: Construct,
  repository: string,
  stage: Stage,
  log: LogGroup,
  statements: PolicyStatement[],
): Role {
  const writeLog = new PolicyStatement({
    actions: ["logs:CreateLogStream", "logs:PutLogEvents"],
    resources: [log.logGroupArn],
  });
  const role = new Role(scope, `${capitalized(stage)}Role`, {
    description: `The ${stage} function of ${repository}`,
    assumedBy: new ServicePrincipal("lambda.amazonaws.com"),
    inlinePolicies: { [stage]: new PolicyDocument({ statements: [writeLog, ...statements] }) },
  });
  const reason = "Objects below fixed prefixes: their names are digests and numbers that come with each upload";
  acknowledgeWildcards(role, statements, reason);
  return role;
}

/** What all functions have in common. */
export interface FunctionOptions {
  readonly code: Code;
  readonly architecture: Architecture;
  readonly environment: Record<string, string>;
}

/** What is kept for a stage alone. */
function reserved(stage: Stage, concurrency: Partial<Record<Stage, number>>): { reservedConcurrentExecutions?: number } {
  const reserved = concurrency[stage];
  return reserved === undefined ? {} : { reservedConcurrentExecutions: reserved };
}

/** A stage's function. */
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
