import assert from "node:assert/strict";
import { test } from "node:test";

import { CHUNK } from "../lib/chunk.ts";
import { inTemplate, listed } from "./listed.ts";
import { functionOf, KEY_ARN, only, repository, resources, rights, roleOf, statementsOfRole, template, VARIANTS } from "./support.ts";

const chosen = template(repository(() => ({ chunks: true })));

test("without the prop there is nothing of it but what devices may ask", () => {
  const without = template(repository());
  assert.equal(resources(without, "AWS::Lambda::Function").filter(([, it]) => it.Properties.Handler === "chunk").length, 0);
  assert.doesNotMatch(JSON.stringify(without), /ChunkQueue|ChunkDeadLetters|QUEUE_CHUNK/);
  const [, bucket] = only(without, "AWS::S3::Bucket", (it) => JSON.stringify(it.LifecycleConfiguration).includes("incoming"));
  assert.equal(bucket.Properties.NotificationConfiguration, undefined);
});

test("the function may read blobs and store chunks, and nothing else", () => {
  const expected = listed(CHUNK).map(inTemplate).sort();
  assert.ok(expected.length > 8);
  assert.deepEqual(rights(statementsOfRole(chosen, roleOf(chosen, "chunk"))), expected);
  const encrypted = template(repository((stack) => ({ ...VARIANTS.iam!(stack), chunks: true })));
  const keys = [`kms:Decrypt ${KEY_ARN}`, `kms:GenerateDataKey ${KEY_ARN}`];
  assert.deepEqual(rights(statementsOfRole(encrypted, roleOf(encrypted, "chunk"))), [...keys, ...expected].sort());
});

test("each new blob is a message, and each message a run", () => {
  const [queue, { Properties: ofQueue }] = only(chosen, "AWS::SQS::Queue", (it) => it.QueueName === "Tufline-Repository-chunk" || /-chunk$/.test(it.QueueName));
  const [, bucket] = only(chosen, "AWS::S3::Bucket", (it) => it.NotificationConfiguration?.QueueConfigurations.length === 1);
  const [told] = bucket.Properties.NotificationConfiguration.QueueConfigurations;
  assert.deepEqual([told.Event, told.Filter.S3Key.Rules], ["s3:ObjectCreated:*", [{ Name: "prefix", Value: "blobs/" }]]);
  assert.deepEqual(told.Queue, { "Fn::GetAtt": [queue, "Arn"] });
  const [id, { Properties }] = functionOf(chosen, "chunk");
  const [, mapping] = only(chosen, "AWS::Lambda::EventSourceMapping", (it) => it.FunctionName.Ref === id);
  assert.deepEqual(mapping.Properties.EventSourceArn, { "Fn::GetAtt": [queue, "Arn"] });
  assert.deepEqual([mapping.Properties.BatchSize, mapping.Properties.FunctionResponseTypes], [1, ["ReportBatchItemFailures"]]);
  assert.equal(ofQueue.VisibilityTimeout, 6 * Properties.Timeout);
  // The longest blob, what doesn't pack of it, and the list.
  assert.ok(Properties.EphemeralStorage.Size * 2 ** 20 > 2 ** 30 + 65_536 * (64 + 22));
});

test("somebody is told of what can't be cut, and operators may ask for chunks", () => {
  only(chosen, "AWS::CloudWatch::Alarm", (it) => /chunk-dead-letters$/.test(it.AlarmName));
  const [, operator] = only(chosen, "AWS::IAM::ManagedPolicy");
  const allowed = rights(operator.Properties.PolicyDocument.Statement);
  for (const right of ["sqs:SendMessage ChunkQueue", "sqs:GetQueueAttributes ChunkQueue", "sqs:DeleteMessage ChunkDeadLetters"]) {
    assert.ok(allowed.includes(right), right);
  }
});

test("the prop changes nothing else", () => {
  const without = template(repository());
  for (const [id, resource] of Object.entries<any>(without.Resources)) {
    const type: string = resource.Type;
    // Their names and their environment tell of it.
    if (/Lambda::Function|Alarm|Dashboard|SSM::Parameter|ManagedPolicy/.test(type)) continue;
    const now = structuredClone(chosen.Resources[id]);
    if (type === "AWS::S3::Bucket" && resource.Properties.NotificationConfiguration === undefined) {
      delete now.Properties.NotificationConfiguration;
      now.DependsOn = resource.DependsOn;
      if (now.DependsOn === undefined) delete now.DependsOn;
    }
    assert.deepEqual(now, resource, id);
  }
});
