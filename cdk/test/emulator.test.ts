import assert from "node:assert/strict";
import { test } from "node:test";

import { App } from "aws-cdk-lib";
import { Template } from "aws-cdk-lib/assertions";

import { LEFT_OUT, LEFT_OUT_CONDITIONS } from "../lib/emulator.ts";
import { TuflineStack, TuflineStackProps } from "../lib/tufline-stack.ts";
import { KEY_ARN, OPEN } from "./support.ts";

const POLICIES: Record<string, string> = {
  "AWS::S3::BucketPolicy": "PolicyDocument",
  "AWS::SQS::QueuePolicy": "PolicyDocument",
  "AWS::KMS::Key": "KeyPolicy",
};

const VARIANTS: TuflineStackProps[] = [
  { ...OPEN },
  { ...OPEN, access: { mode: "iam" }, hashing: "stream", encryptionKeyArn: KEY_ARN },
  { ...OPEN, access: { mode: "jwt", issuer: "https://issuer.example.org", audience: ["devices"] } },
];

function synthesize(props: TuflineStackProps): any {
  return Template.fromStack(new TuflineStack(new App(), "Tufline", props)).toJSON();
}

for (const props of VARIANTS) {
  const { mode } = props.access;
  test(`${mode}: the emulator's template omits exactly the listed items and the bootstrap check`, () => {
    const full = synthesize(props);
    delete full.Rules;
    delete full.Parameters;
    const [sids, conditions] = [new Set<string>(), new Set<string>()];
    for (const [id, resource] of Object.entries<any>(full.Resources)) {
      const policy = resource.Properties[POLICIES[resource.Type] ?? ""];
      if (!policy) continue;
      policy.Statement = policy.Statement.filter(({ Sid }: any) => {
        if (LEFT_OUT.has(Sid)) sids.add(Sid);
        return !LEFT_OUT.has(Sid);
      });
      for (const statement of policy.Statement) {
        for (const [operator, keys] of Object.entries<any>(statement.Condition ?? {})) {
          for (const key of Object.keys(keys).filter((key) => LEFT_OUT_CONDITIONS.has(key))) {
            conditions.add(key);
            delete keys[key];
          }
          if (Object.keys(keys).length === 0) delete statement.Condition[operator];
        }
        if (Object.keys(statement.Condition ?? { some: 1 }).length === 0) delete statement.Condition;
      }
      // A bucket or queue without a statement has no policy at all.
      if (policy.Statement.length === 0) delete full.Resources[id];
    }
    assert.deepEqual(sids, LEFT_OUT);
    assert.deepEqual(conditions, LEFT_OUT_CONDITIONS);
    assert.deepEqual(synthesize({ ...props, emulator: true }), full);
  });
}

test("the list of omissions is exactly this", () => {
  assert.deepEqual([...LEFT_OUT], ["OnlyOverTls", "WriteOnce", "WriteOnceInParts", "WriteConditionally"]);
  assert.deepEqual([...LEFT_OUT_CONDITIONS], ["kms:SigningAlgorithm", "kms:MessageType"]);
});

test("a token's issuer may be on the loopback address on the emulator only", () => {
  const access = { mode: "jwt", issuer: "http://127.0.0.1:8080", audience: ["devices"] } as const;
  synthesize({ ...OPEN, access, emulator: true });
  assert.throws(() => synthesize({ ...OPEN, access }), /access\.issuer is 'http:\/\/127\.0\.0\.1:8080': /);
});
