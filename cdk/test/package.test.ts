/** The npm package, as an app elsewhere installs and uses it; and the example of such an app. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";

import { ONLINE_KEYS, PROGRAMS } from "../lib/permissions.ts";
import { VERSION } from "../lib/version.ts";
import { resources } from "./support.ts";

const HERE = resolve(import.meta.dirname, "..");
const EXAMPLE = resolve(HERE, "../examples/cdk-two-repositories");
const OWN = JSON.parse(readFileSync(join(HERE, "package.json"), "utf8"));
const [, README] = /```ts\n([^]*?)```/.exec(readFileSync(join(HERE, "README.md"), "utf8"))!;

const scratch = mkdtempSync(join(tmpdir(), "tufline-cdk-package-"));
after(() => rmSync(scratch, { recursive: true }));

/** The example's own files, with the package that is packed here. */
const app = join(scratch, "app");
const archives = PROGRAMS.map((program) => `arm64-${program}.zip`);

/** Runs a command to its end, and returns what it printed. */
function run(cwd: string, command: string, args: string[], variables: Record<string, string> = {}): string {
  const env = { ...process.env, ...variables };
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, env, encoding: "utf8" });
  assert.equal(status, 0, `${command} ${args.join(" ")}\n${stdout}${stderr}`);
  return stdout;
}

/** The template of the stack that a program of the app makes, and the folder beside it. */
function synthesize(...program: string[]): { template: any; out: string } {
  const out = join(app, `cdk.out-${program.at(-1)}`);
  run(app, process.execPath, program, { CDK_OUTDIR: out });
  return { template: JSON.parse(readFileSync(join(out, "Firmware.template.json"), "utf8")), out };
}

before(() => {
  const target = join(scratch, "target");
  mkdirSync(join(target, "lambda"), { recursive: true });
  for (const archive of archives) writeFileSync(join(target, "lambda", archive), archive);
  run(HERE, "npm", ["pack", "--silent", "--pack-destination", scratch], { CARGO_TARGET_DIR: target });

  mkdirSync(app);
  for (const file of ["app.ts", "tsconfig.json"]) cpSync(join(EXAMPLE, file), join(app, file));
  writeFileSync(join(app, "package.json"), JSON.stringify({ private: true, type: "module" }));
  const packed = join(scratch, `tufline-cdk-${OWN.version}.tgz`);
  // The peers are those of this folder, so nothing comes over the network.
  run(app, "npm", ["install", "--offline", "--legacy-peer-deps", "--no-audit", "--no-fund", packed]);
  for (const name of ["aws-cdk-lib", "constructs", "tsx", "typescript"]) {
    symlinkSync(join(HERE, "node_modules", name), join(app, "node_modules", name));
  }
});

test("TypeScript checks the readme's and the example's props", () => {
  const wrong = `
    // @ts-expect-error
    new TuflineRepository(stack, "A", { access: { mode: "all" } });
    // @ts-expect-error
    new TuflineRepository(stack, "B", { access: { mode: "open" }, batchWindow: 1 });
    // @ts-expect-error
    repository.grantUpload(builds, { prefixes: [] });`;
  writeFileSync(join(app, "readme.ts"), README!);
  writeFileSync(join(app, "wrong.ts"), README! + wrong);
  const project = JSON.parse(readFileSync(join(app, "tsconfig.json"), "utf8"));
  writeFileSync(join(app, "all.json"), JSON.stringify({ ...project, include: ["*.ts"] }));
  run(app, "node_modules/typescript/bin/tsc", ["--project", "all.json"]);
});

test("JavaScript deploys the package's programs, and its function at the edge", () => {
  const open = 'access: { mode: "open" }';
  assert.ok(README!.includes(open));
  writeFileSync(join(app, "readme.js"), README!.replace(open, `${open}, cloudFront: {}`));
  const { template, out } = synthesize("readme.js");
  const keys = resources(template, "AWS::Lambda::Function").map(([, it]) => it.Properties.Code.S3Key);
  const deployed = [...new Set(keys)].map((key) => readFileSync(join(out, `asset.${key}`), "utf8"));
  assert.deepEqual(deployed.sort(), archives.sort());
  const [[, edge]] = resources(template, "AWS::CloudFront::Function") as [[string, any]];
  assert.equal(edge.Properties.FunctionCode, readFileSync(join(HERE, "edge", "path.js"), "utf8"));
});

test("a package without the programs says so, to `require` too", { skip: !("require_module" in process.features) }, () => {
  const program = `
    const { App, Stack } = require("aws-cdk-lib");
    const { TuflineRepository } = require("tufline-cdk");
    const props = { access: { mode: "open" }, architecture: { name: "x86_64" } };
    new TuflineRepository(new Stack(new App(), "Firmware"), "Repository", props);`;
  const { status, stderr } = spawnSync(process.execPath, ["--input-type=commonjs", "-e", program], { cwd: app, encoding: "utf8" });
  assert.equal(status, 1);
  assert.match(stderr, /bundle is missing: this copy of tufline-cdk has no programs for x86_64; build them with /);
});

test("the example has two repositories, with one topic for both and a role for each team", () => {
  const { dependencies } = JSON.parse(readFileSync(join(EXAMPLE, "package.json"), "utf8"));
  const { devDependencies, version } = OWN;
  assert.equal(version, VERSION);
  const { "aws-cdk-lib": lib, constructs } = devDependencies;
  assert.deepEqual(dependencies, { "aws-cdk-lib": lib, constructs, "tufline-cdk": version });

  const { template } = synthesize("--import", "tsx", "app.ts");
  assert.equal(resources(template, "AWS::KMS::Key").length, 2 * ONLINE_KEYS.length);
  const alarms = resources(template, "AWS::CloudWatch::Alarm").map(([, it]) => it.Properties);
  assert.deepEqual([...new Set(alarms.map((it) => it.AlarmName.split("-")[0]))].sort(), ["Cameras", "Gateways"]);
  const [[topic]] = resources(template, "AWS::SNS::Topic") as [[string, any]];
  for (const { AlarmActions } of alarms) assert.deepEqual(AlarmActions, [{ Ref: topic }]);
  for (const [builds, prefix] of [["GatewayBuilds", "gateway"], ["CameraBuilds", "camera"]] as const) {
    const policies = resources(template, "AWS::IAM::Policy").filter(([id]) => id.startsWith(builds));
    assert.equal(policies.length, 1);
    const statements: any[] = policies[0]![1].Properties.PolicyDocument.Statement;
    const [put] = statements.filter(({ Action }) => Action.includes("s3:PutObject"));
    assert.match(JSON.stringify(put.Resource), new RegExp(`/targets/${prefix}/\\*`));
  }
});
