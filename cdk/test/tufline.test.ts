import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

import { App } from "aws-cdk-lib";
import { Template } from "aws-cdk-lib/assertions";

import { LEFT_OUT } from "../lib/emulator.ts";
import { ONLINE_KEYS, STAGES } from "../lib/permissions.ts";
import { TuflineStack } from "../lib/tufline-stack.ts";

const bundle = mkdtempSync(join(tmpdir(), "tufline-cdk-test-"));
writeFileSync(join(bundle, "bootstrap"), "not run by these tests");
after(() => rmSync(bundle, { recursive: true }));

function synthesize(emulator: boolean): any {
  return Template.fromStack(new TuflineStack(new App(), "Tufline", { bundle, emulator })).toJSON();
}

const template = synthesize(false);

function resources(type: string): [string, any][] {
  return Object.entries<any>(template.Resources).filter(([, resource]) => resource.Type === type);
}

function functionOf(stage: string): [string, any] {
  const found = resources("AWS::Lambda::Function").find(([, it]) => it.Properties.Handler === stage);
  assert.ok(found, `no function for ${stage}`);
  return found;
}

/** All statements of the stage's role. */
function statementsOf(stage: string): any[] {
  const role = functionOf(stage)[1].Properties.Role["Fn::GetAtt"][0];
  const inline = template.Resources[role].Properties.Policies.flatMap((it: any) => it.PolicyDocument.Statement);
  const attached = resources("AWS::IAM::Policy")
    .filter(([, it]) => it.Properties.Roles.some((reference: any) => reference.Ref === role))
    .flatMap(([, it]) => it.Properties.PolicyDocument.Statement);
  assert.equal(template.Resources[role].Properties.ManagedPolicyArns, undefined, `${stage} has a managed policy`);
  return [...inline, ...attached];
}

/** The resources on which the stage's role allows the action, as compact JSON. */
function allowed(stage: string, action: string): string[] {
  return statementsOf(stage)
    .filter((it) => it.Effect === "Allow" && [it.Action].flat().includes(action))
    .flatMap((it) => [it.Resource].flat())
    .map((resource) => JSON.stringify(resource));
}

function keyId(role: string): string {
  const found = resources("AWS::KMS::Key").find(([, it]) => it.Properties.Description.startsWith(`TUF ${role} key`));
  assert.ok(found, `no key for ${role}`);
  return found[0];
}

test("messages stay hidden for six times the function's timeout, and end in a dead-letter queue", () => {
  const mappings = resources("AWS::Lambda::EventSourceMapping");
  assert.equal(mappings.length, 4);
  for (const [, { Properties: mapping }] of mappings) {
    const queue = template.Resources[mapping.EventSourceArn["Fn::GetAtt"][0]].Properties;
    const { Timeout } = template.Resources[mapping.FunctionName.Ref].Properties;
    assert.ok(queue.VisibilityTimeout >= 6 * Timeout, queue.QueueName);
    assert.ok(queue.RedrivePolicy, queue.QueueName);
    assert.deepEqual(mapping.FunctionResponseTypes, ["ReportBatchItemFailures"]);
    // One message group: a crash there holds all that follows.
    if (queue.FifoQueue) assert.ok(Timeout <= 30, queue.QueueName);
    // AWS refuses larger batches without a window.
    if (mapping.BatchSize > 10) assert.ok(mapping.MaximumBatchingWindowInSeconds >= 1, queue.QueueName);
  }
  for (const [, queue] of resources("AWS::SQS::Queue")) {
    assert.equal(queue.Properties.MessageRetentionPeriod, 14 * 24 * 3600);
    assert.equal(queue.Properties.ContentBasedDeduplication, undefined);
  }
});

test("only sign may use the keys of targets, bins and snapshot, and only publish and refresh the timestamp's", () => {
  for (const role of ONLINE_KEYS) {
    const expected = role === "timestamp" ? ["publish", "refresh"] : ["sign"];
    const arn = JSON.stringify({ "Fn::GetAtt": [keyId(role), "Arn"] });
    assert.deepEqual(STAGES.filter((stage) => allowed(stage, "kms:Sign").includes(arn)), expected, role);
  }
});

test("no policy of a function has a wildcard for an action or a whole resource, or deletes an object", () => {
  for (const stage of STAGES) {
    for (const { Effect, Action, Resource } of statementsOf(stage)) {
      for (const action of [Action].flat()) {
        assert.ok(!action.includes("*") && !/^s3:Delete/.test(action), `${stage}: ${action}`);
      }
      assert.ok(Effect === "Deny" || ![Resource].flat().includes("*"), stage);
    }
  }
});

test("only publish and refresh may write the timestamp, and nobody a root", () => {
  const writes = (stage: string, key: string): boolean =>
    allowed(stage, "s3:PutObject").some((resource) => resource.includes(key));
  assert.deepEqual(STAGES.filter((stage) => writes(stage, "/metadata/timestamp.json")), ["publish", "refresh"]);
  assert.deepEqual(STAGES.filter((stage) => writes(stage, "/metadata/*")), ["sign"]);
  const denied = JSON.stringify(statementsOf("sign").filter((it) => it.Effect === "Deny"));
  assert.ok(denied.includes("/metadata/timestamp.json") && denied.includes("/metadata/*.root.json"));
});

test("buckets are versioned, private and kept, and their policies protect what was written", () => {
  for (const [id, bucket] of resources("AWS::S3::Bucket")) {
    assert.equal(bucket.DeletionPolicy, "Retain", id);
    assert.equal(bucket.Properties.VersioningConfiguration.Status, "Enabled", id);
    assert.ok(Object.values(bucket.Properties.PublicAccessBlockConfiguration).every((blocked) => blocked === true), id);
  }
  const sids = resources("AWS::S3::BucketPolicy").map(([, it]) =>
    it.Properties.PolicyDocument.Statement.map((statement: any) => statement.Sid),
  );
  assert.deepEqual(sids.sort(), [
    ["OnlyOverTls"],
    ["OnlyOverTls", "KeepForever", "WriteOnce", "WriteConditionally"],
    ["OnlyOverTls", "KeepForever", "WriteOnce", "WriteConditionally"],
  ]);
});

test("for the emulator exactly the listed statements and the check of the bootstrap are left out", () => {
  const full = structuredClone(template);
  delete full.Rules;
  delete full.Parameters;
  const leftOut = new Set<string>();
  for (const [id, resource] of Object.entries<any>(full.Resources)) {
    if (resource.Type !== "AWS::S3::BucketPolicy") continue;
    const policy = resource.Properties.PolicyDocument;
    policy.Statement = policy.Statement.filter(({ Sid }: any) => {
      if (LEFT_OUT.has(Sid)) leftOut.add(Sid);
      return !LEFT_OUT.has(Sid);
    });
    // A bucket without a statement has no policy at all.
    if (policy.Statement.length === 0) delete full.Resources[id];
  }
  assert.deepEqual(leftOut, LEFT_OUT);
  assert.deepEqual(synthesize(true), full);
});
