import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

import { bundle, KEY_ARN, resources } from "./support.ts";

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
  [{ access: "open", bundle: "/nowhere" }, /no file 'bootstrap' in \/nowhere: /],
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
    assert.equal(it.Properties.Environment.Variables.TUFLINE_CONFIG, '{"hashing":"stream","offline_targets":true}');
  }
});
