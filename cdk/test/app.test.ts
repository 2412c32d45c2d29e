import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

import { Stack } from "aws-cdk-lib";
import { User } from "aws-cdk-lib/aws-iam";
import { Key } from "aws-cdk-lib/aws-kms";

import { bundle, KEY_ARN, only, readable, repository, resources, template } from "./support.ts";

const out = mkdtempSync(join(tmpdir(), "tufline-cdk-app-"));
after(() => rmSync(out, { recursive: true }));

/** Runs the app as the CDK CLI does. */
function app(context: Record<string, string>): { status: number | null; stderr: string } {
  const env = {
    ...process.env,
    CDK_CONTEXT_JSON: JSON.stringify({ bundle, ...context }),
    CDK_OUTDIR: out,
    CDK_VALIDATION: "true",
  };
  const cwd = new URL("..", import.meta.url).pathname;
  const { status, stderr } = spawnSync(process.execPath, ["--import", "tsx", "bin/tufline.ts"], {
    cwd,
    env,
    encoding: "utf8",
  });
  return { status, stderr };
}

const REFUSED: [Record<string, string>, RegExp][] = [
  [{}, /-c access=… is missing: say who may read as a device: open \(everybody\), iam or jwt/],
  [{ access: "all" }, /-c access=all: expected open or iam or jwt/],
  [{ access: "jwt" }, /-c jwtIssuer=… is missing: /],
  [{ access: "jwt", jwtIssuer: "http://x", jwtAudience: "a" }, /access\.issuer is 'http:\/\/x': /],
  [{ access: "open", bundle: "/nowhere" }, /no file 'pipeline\/bootstrap' in \/nowhere: /],
  [{ access: "iam", cloudFront: "true" }, /access is 'iam' with cloudFront: CloudFront would answer other devices/],
  [{ access: "open", cloudFront: "yes" }, /-c cloudFront=yes: expected true or false/],
  [{ access: "open", iotDevices: "all" }, /access is 'open': IAM lets devices in .*; leave TuflineIotDevices out/],
  [{ access: "iam", iotDevices: "true" }, /-c iotDevices=true: expected all or byThingType/],
  [{ access: "open", architecture: "mips" }, /-c architecture=mips: expected arm64 or x86_64/],
];

for (const [context, reason] of REFUSED) {
  test(`refused in one line: ${JSON.stringify(context)}`, () => {
    const { status, stderr } = app(context);
    assert.equal(status, 1);
    assert.match(stderr, /^tufline: /);
    assert.match(stderr, reason);
    assert.equal(stderr.trimEnd().split("\n").length, 1, stderr);
  });
}

test("what is chosen on the command line is in the template", () => {
  const { status, stderr } = app({
    access: "jwt",
    jwtIssuer: "https://issuer.example.org",
    jwtAudience: "a,b",
    name: "Other",
    hashing: "stream",
    offlineTargets: "true",
    trustedRoot: "0f".repeat(32),
    replaceRoots: "true",
    encryptionKey: KEY_ARN,
    alarmTopic: "arn:aws:sns:eu-central-1:111122223333:alarms",
    architecture: "x86_64",
  });
  assert.equal(status, 0, stderr);
  const template = JSON.parse(readFileSync(join(out, "Other.template.json"), "utf8"));
  const { pluginReports } = JSON.parse(readFileSync(join(out, "validation-report.json"), "utf8"));
  assert.deepEqual(pluginReports, [], "CDK's own check finds something");
  const text = JSON.stringify(template);
  for (const part of [KEY_ARN, ":alarms", '"Audience":["a","b"]', '"Architectures":["x86_64"]', "/tufline/Other"]) {
    assert.ok(text.includes(part), part);
  }
  for (const [, it] of resources(template, "AWS::Lambda::Function")) {
    const config = { hashing: "stream", offline_targets: true, trusted_root: "0f".repeat(32) };
    assert.equal(it.Properties.Environment.Variables.TUFLINE_CONFIG, JSON.stringify(config));
  }
});

test("the printed policy for a build system is what grantUpload grants", () => {
  const parameter = join(out, "parameter.json");
  writeFileSync(
    parameter,
    JSON.stringify({
      TUFLINE_REPOSITORY: "Tufline",
      TUFLINE_UPLOADS_BUCKET: "the-uploads",
      TUFLINE_UPLOADS_PREFIX: "targets/",
      TUFLINE_LEDGER_BUCKET: "the-ledger",
      TUFLINE_KEY_TIMESTAMP: `${KEY_ARN},${KEY_ARN}`,
    }),
  );
  const printed = (...options: string[]) => {
    const command = ["--import", "tsx", "bin/upload-policy.ts", ...options];
    return spawnSync(process.execPath, command, { cwd: new URL("..", import.meta.url).pathname, encoding: "utf8" });
  };
  const made = repository((stack) => ({ encryptionKey: Key.fromKeyArn(stack, "Key", KEY_ARN) }));
  made.grantUpload(new User(Stack.of(made), "Uploader"), { prefix: "gateway/" });
  const [, granted] = only(template(made), "AWS::IAM::Policy", ({ Users }) => Users !== undefined);
  const [partition, region, account] = ["aws", "eu-central-1", "111122223333"];
  const names: [RegExp, string][] = [
    [/arn:aws:s3:::the-uploads/g, "Uploads"],
    [/arn:aws:s3:::the-ledger/g, "Ledger"],
    [/arn:aws:ssm:eu-central-1:111122223333:parameter\/tufline\/Tufline/g, "VARIABLES"],
    [/arn:<AWS::Partition>:ssm:<AWS::Region>:<AWS::AccountId>:parameterVariables/g, "VARIABLES"],
    [/<AWS::Partition>/g, partition!],
    [/<AWS::Region>/g, region!],
    [/<AWS::AccountId>/g, account!],
    [/<AWS::URLSuffix>/g, "amazonaws.com"],
  ];
  const plain = (statements: any[]) => {
    return statements.map(({ Action, Resource, Condition }) => {
      const values = Object.values<any>(Condition ?? {}).flatMap((keys) => Object.entries<any>(keys).flat().map(readable));
      const words = [...[Action].flat(), ...[Resource].flat().map(readable), ...values].join(" ");
      return names.reduce((text, [pattern, name]) => text.replace(pattern, name), words);
    });
  };
  const { status, stdout, stderr } = printed(parameter, "--prefix", "gateway/", "--encryption-key", KEY_ARN);
  assert.equal(status, 0, stderr);
  assert.deepEqual(plain(JSON.parse(stdout).Statement), plain(granted.Properties.PolicyDocument.Statement));
  assert.match(stdout, /arn:aws:s3:::the-uploads\/targets\/gateway\/\*/);

  for (const [options, reason] of [
    [[parameter, "--prefix", "gateway"], /grantUpload's prefix is 'gateway': .*; give /],
    [[parameter, "more"], /usage: /],
    [[], /usage: /],
    [["/nowhere"], /no such file/],
  ] as const) {
    const refused = printed(...options);
    assert.deepEqual([refused.status, refused.stdout], [1, ""]);
    assert.match(refused.stderr, /^upload-policy: [^\n]*\n$/);
    assert.match(refused.stderr, reason);
  }
});
