/** The queues of the pipeline, each with its dead-letter queue. */
import { Duration } from "aws-cdk-lib";
import { PolicyStatement } from "aws-cdk-lib/aws-iam";
import { IQueue, Queue, QueuePolicy } from "aws-cdk-lib/aws-sqs";
import { Construct } from "constructs";

import { keptStatements } from "./emulator.ts";
import { capitalized } from "./names.ts";
import { QueueName } from "./permissions.ts";
import { queueOnlyOverTls } from "./resource-policies.ts";

/** How often a message is tried before it moves to the dead-letter queue. */
const MAX_RECEIVES = 5;

/**
 * The longest retention that SQS allows. Dead letters wait for refresh to bring them back, and a
 * backlog waits for its stage.
 */
const MESSAGE_RETENTION = Duration.days(14);

/**
 * Whether a queue delivers messages in order, one group at a time. With this, sign and publish each
 * run once at a time.
 */
const FIFO: Record<QueueName | "chunk", boolean> = {
  uploads: false,
  large: false,
  changes: false,
  sign: true,
  publish: true,
  chunk: false,
};

/** The dead-letter queue of the queue `name` in the repository `repository`. */
export function deadLetterQueue(scope: Construct, repository: string, name: QueueName | "chunk"): Queue {
  return new Queue(scope, `${capitalized(name)}DeadLetters`, {
    ...named(repository, `${name}-dlq`, FIFO[name]),
    retentionPeriod: MESSAGE_RETENTION,
  });
}

/**
 * The queue `name`. Its messages stay hidden for `visibilityTimeout` while a stage handles them.
 */
export function queue(
  scope: Construct,
  repository: string,
  name: QueueName | "chunk",
  visibilityTimeout: Duration,
  deadLetters: IQueue,
): Queue {
  return new Queue(scope, `${capitalized(name)}Queue`, {
    ...named(repository, name, FIFO[name]),
    retentionPeriod: MESSAGE_RETENTION,
    visibilityTimeout,
    deadLetterQueue: { queue: deadLetters, maxReceiveCount: MAX_RECEIVES },
  });
}

function named(repository: string, name: string, fifo: boolean): { queueName: string; fifo?: true } {
  return fifo ? { queueName: `${repository}-${name}.fifo`, fifo } : { queueName: `${repository}-${name}` };
}

/**
 * The queue's own policy: TLS only, and the statements `allowed`. `undefined` if no statement is
 * left.
 */
export function queuePolicy(
  scope: Construct,
  id: string,
  queue: IQueue,
  allowed: PolicyStatement[],
  emulator: boolean,
): QueuePolicy | undefined {
  const statements = keptStatements([queueOnlyOverTls(queue), ...allowed], emulator);
  if (statements.length === 0) return undefined;
  const policy = new QueuePolicy(scope, id, { queues: [queue] });
  policy.document.addStatements(...statements);
  return policy;
}
