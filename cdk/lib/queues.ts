/** The queues of the pipeline, each with its dead letters. */
import { Duration } from "aws-cdk-lib";
import { PolicyStatement } from "aws-cdk-lib/aws-iam";
import { IQueue, Queue, QueuePolicy } from "aws-cdk-lib/aws-sqs";
import { Construct } from "constructs";

import { keptStatements } from "./emulator.ts";
import { capitalized } from "./names.ts";
import { QueueName } from "./permissions.ts";
import { queueOnlyOverTls } from "./resource-policies.ts";

/** A message is tried this often before it goes to the dead-letter queue. */
const MAX_RECEIVES = 5;

/** The longest that SQS allows: a dead letter waits for the redrive that refresh makes, and a backlog for its stage. */
const MESSAGE_RETENTION = Duration.days(14);

/** Whether messages come in order, one group at a time: only so do sign and publish never work against themselves. */
const FIFO: Record<QueueName | "chunk", boolean> = {
  uploads: false,
  large: false,
  changes: false,
  sign: true,
  publish: true,
  chunk: false,
};

/** The dead letters of the queue `name` of the repository `repository`. */
export function deadLetterQueue(scope: Construct, repository: string, name: QueueName | "chunk"): Queue {
  return new Queue(scope, `${capitalized(name)}DeadLetters`, {
    ...named(repository, `${name}-dlq`, FIFO[name]),
    retentionPeriod: MESSAGE_RETENTION,
  });
}

/** The queue `name`. Its messages stay hidden for `visibilityTimeout` while they are handled. */
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

/** The queue's own policy: TLS only, and what else it allows. There is none where nothing is left of it. */
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
