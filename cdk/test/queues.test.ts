import assert from "node:assert/strict";
import { test } from "node:test";

import { only, resources, stackTemplate } from "./support.ts";

const template = stackTemplate();

test("messages stay hidden for six times the function's timeout, and end in a dead-letter queue", () => {
  const mappings = resources(template, "AWS::Lambda::EventSourceMapping");
  assert.equal(mappings.length, 5);
  for (const [, { Properties: mapping }] of mappings) {
    const queue = template.Resources[mapping.EventSourceArn["Fn::GetAtt"][0]].Properties;
    const { Timeout } = template.Resources[mapping.FunctionName.Ref].Properties;
    // And for the time that a batch is collected:
    // https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
    assert.ok(queue.VisibilityTimeout >= 6 * Timeout + (mapping.MaximumBatchingWindowInSeconds ?? 0), queue.QueueName);
    assert.ok(queue.RedrivePolicy, queue.QueueName);
    assert.deepEqual(mapping.FunctionResponseTypes, ["ReportBatchItemFailures"]);
    // One message group: a crash blocks all that follows.
    if (queue.FifoQueue) assert.ok(Timeout <= 60, queue.QueueName);
    // AWS refuses larger batches without a window.
    if (mapping.BatchSize > 10) assert.ok(mapping.MaximumBatchingWindowInSeconds >= 1, queue.QueueName);
  }
  for (const [, queue] of resources(template, "AWS::SQS::Queue")) {
    assert.equal(queue.Properties.MessageRetentionPeriod, 14 * 24 * 3600);
    assert.equal(queue.Properties.ContentBasedDeduplication, undefined);
  }
});

test("large uploads have their own function, with Lambda's longest timeout", () => {
  const [id, { Properties: queue }] = only(template, "AWS::SQS::Queue", (it) => it.QueueName === "Tufline-large");
  const [, { Properties: mapping }] = only(
    template,
    "AWS::Lambda::EventSourceMapping",
    (it) => it.EventSourceArn["Fn::GetAtt"][0] === id,
  );
  assert.deepEqual([mapping.BatchSize, mapping.ScalingConfig], [1, { MaximumConcurrency: 10 }]);
  assert.equal(template.Resources[mapping.FunctionName.Ref].Properties.Timeout, 900);
  assert.equal(queue.VisibilityTimeout, 5400);
});

test("each queue has one policy, which refuses requests without TLS", () => {
  const policies = resources(template, "AWS::SQS::QueuePolicy").map(([, it]) => it.Properties);
  const queues = policies.flatMap(({ Queues }) => Queues.map((queue: any) => queue.Ref));
  // A second policy of a queue would replace the first.
  assert.deepEqual(
    queues.sort(),
    resources(template, "AWS::SQS::Queue")
      .map(([id]) => id)
      .sort(),
  );
  for (const { PolicyDocument } of policies) {
    assert.ok(PolicyDocument.Statement.some(({ Sid, Effect }: any) => Sid === "OnlyOverTls" && Effect === "Deny"));
  }
});
