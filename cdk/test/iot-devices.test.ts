import assert from "node:assert/strict";
import { test } from "node:test";

import { App, Duration, Stack } from "aws-cdk-lib";
import { Template } from "aws-cdk-lib/assertions";
import { AwsSolutionsChecks } from "cdk-nag";

import { TuflineIotDevices, TuflineIotDevicesProps } from "../lib/iot-devices.ts";
import { TuflineStack } from "../lib/tufline-stack.ts";
import { only, OPEN, Props, readable, repository, resources, rights, stackTemplate, template } from "./support.ts";

type Chosen = Omit<TuflineIotDevicesProps, "repository">;

/** A repository under IAM access, with devices of AWS IoT. */
function withDevices(chosen: Chosen = {}, props: Props = {}): TuflineIotDevices {
  const made = repository(() => ({ access: { mode: "iam" }, name: "cameras", ...props }));
  return new TuflineIotDevices(Stack.of(made), "Devices", { repository: made, ...chosen });
}

function templateWith(chosen?: Chosen, props?: Props): any {
  return Template.fromStack(Stack.of(withDevices(chosen, props))).toJSON();
}

/** The devices' role: its trust policy, its rights, and its longest session. */
function roleOf(template: any): { trust: any; may: string[]; longest: number } {
  const isOfIot = (it: any) => JSON.stringify(it.AssumeRolePolicyDocument).includes("credentials.iot");
  const [id, { Properties }] = only(template, "AWS::IAM::Role", isOfIot);
  assert.equal(Properties.ManagedPolicyArns, undefined);
  assert.ok(!resources(template, "AWS::IAM::Policy").some(([, it]) => JSON.stringify(it.Properties.Roles).includes(`"${id}"`)));
  const statements = Properties.Policies.flatMap((it: any) => it.PolicyDocument.Statement);
  const [trust] = Properties.AssumeRolePolicyDocument.Statement;
  assert.equal(Properties.AssumeRolePolicyDocument.Statement.length, 1);
  return { trust, may: rights(statements), longest: Properties.MaxSessionDuration };
}

const API = `execute-api:Invoke arn:<AWS::Partition>:execute-api:<AWS::Region>:<AWS::AccountId>:Api/$default`;

test("devices of AWS IoT may read, and nothing else", () => {
  const paths = ["GET/chunks/*", "GET/metadata/*", "GET/pack", "GET/targets/*", "HEAD/chunks/*", "HEAD/metadata/*", "HEAD/targets/*"];
  assert.deepEqual(roleOf(templateWith()).may, paths.map((path) => `${API}/${path}`));
});

test("only the credentials provider may assume the role, and only for the role alias", () => {
  const made = templateWith();
  const { trust } = roleOf(made);
  const [alias, { Properties }] = only(made, "AWS::IoT::RoleAlias");
  assert.deepEqual([trust.Effect, trust.Action, trust.Principal], ["Allow", "sts:AssumeRole", { Service: "credentials.iot.amazonaws.com" }]);
  assert.deepEqual(trust.Condition.StringEquals, { "aws:SourceAccount": { Ref: "AWS::AccountId" } });
  const arn = "arn:<AWS::Partition>:iot:<AWS::Region>:<AWS::AccountId>:*";
  assert.equal(readable(trust.Condition.ArnLike["aws:SourceArn"]), arn);
  assert.deepEqual(Object.keys(trust.Condition), ["StringEquals", "ArnLike"]);
  assert.equal(Properties.RoleAlias, "cameras-devices");
  const [role] = only(made, "AWS::IAM::Role", (it) => JSON.stringify(it).includes("credentials.iot"));
  assert.deepEqual(Properties.RoleArn, { "Fn::GetAtt": [role, "Arn"] });
  const [, policy] = only(made, "AWS::IoT::Policy");
  assert.equal(policy.Properties.PolicyName, "cameras-devices");
  assert.deepEqual(policy.Properties.PolicyDocument.Statement, [
    { Effect: "Allow", Action: "iot:AssumeRoleWithCertificate", Resource: { "Fn::GetAtt": [alias, "RoleAliasArn"] } },
  ]);
});

test("a thing type may read its paths in both layouts, all metadata, and no packs", () => {
  const type = "${credentials-iot:ThingTypeName}";
  const below = (tree: string) => [`${tree}/${type}/*`, `${tree}/${"?".repeat(64)}.${type}/*`];
  const trees = [...below("chunks"), "metadata/*", ...below("targets")];
  const due = ["GET", "HEAD"].flatMap((method) => trees.map((tree) => `${API}/${method}/${tree}`));
  assert.deepEqual(roleOf(templateWith({ pathsByThingType: true })).may, due.sort());
});

test("such a policy allows each client's requests for its own type, and none for another type", () => {
  const [digest, type] = ["0a".repeat(32), "gateway"];
  const patterns = roleOf(templateWith({ pathsByThingType: true })).may.map((right) => {
    const resource = right.split("$default/")[1]!.replace("${credentials-iot:ThingTypeName}", type);
    // As IAM matches them
    // (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html>).
    return new RegExp(`^${resource.replace(/[.]/g, "\\.").replaceAll("*", ".*").replaceAll("?", ".")}$`);
  });
  const may = (path: string) => patterns.some((pattern) => pattern.test(`GET/${path}`));
  for (const path of [
    "metadata/timestamp.json",
    "metadata/7.bin-0f.json",
    `targets/gateway/${digest}.firmware.bin`,
    `targets/gateway/v2/${digest}.firmware.bin`,
    `targets/${digest}.gateway/v2/firmware.bin`,
    `chunks/gateway/v2/${digest}.firmware.bin`,
    `chunks/${digest}.gateway/v2/firmware.bin`,
  ]) {
    assert.ok(may(path), path);
  }
  for (const path of [
    "pack",
    `targets/${digest}.firmware.bin`,
    `targets/camera/${digest}.firmware.bin`,
    `targets/${digest}.camera/firmware.bin`,
    `targets/gateway-2/${digest}.firmware.bin`,
    `targets/camera/gateway/${digest}.firmware.bin`,
    `targets/${digest}.camera.gateway/firmware.bin`,
    `chunks/camera/${digest}.firmware.bin`,
    `chunks/${digest}.camera/firmware.bin`,
  ]) {
    assert.ok(!may(path), path);
  }
});

test("keys are valid for as long as chosen, and the role allows that", () => {
  for (const [keysValidFor, longest] of [[undefined, 3600], [Duration.minutes(15), 3600], [Duration.hours(12), 43_200]] as const) {
    const made = templateWith(keysValidFor && { keysValidFor });
    const [, { Properties }] = only(made, "AWS::IoT::RoleAlias");
    assert.deepEqual([Properties.CredentialDurationSeconds, roleOf(made).longest], [keysValidFor?.toSeconds() ?? 3600, longest]);
  }
});

const REFUSED: [Chosen, Props, RegExp][] = [
  [{ name: "a b" }, {}, /TuflineIotDevices' name is 'a b': .*; give /],
  [{ keysValidFor: Duration.minutes(14) }, {}, /keysValidFor is 840 s: .*; choose 15 minutes to 12 hours$/],
  [{ keysValidFor: Duration.hours(13) }, {}, /keysValidFor is 46800 s: .*; choose /],
  [{}, { access: { mode: "open" } }, /access is 'open': IAM lets devices in .*; leave TuflineIotDevices out, or change the access$/],
];

for (const [chosen, props, reason] of REFUSED) {
  test(`refused: ${reason.source}`, () => assert.throws(() => withDevices(chosen, props), reason));
}

for (const pathsByThingType of [false, true]) {
  test(`cdk-nag finds nothing, with pathsByThingType ${pathsByThingType}`, () => {
    const { violations } = new AwsSolutionsChecks().validateScope(Stack.of(withDevices({ pathsByThingType })));
    assert.deepEqual(violations.map(({ ruleName }) => ruleName), []);
  });
}

test("the app makes them if they were chosen, but never on the emulator, which has no AWS IoT", () => {
  const app = (props: object) => {
    return Template.fromStack(new TuflineStack(new App(), "Tufline", { ...OPEN, access: { mode: "iam" }, ...props })).toJSON();
  };
  const chosen = app({ iotDevices: {} });
  assert.deepEqual(chosen.Outputs.RoleAlias.Value, { Ref: only(chosen, "AWS::IoT::RoleAlias")[0] });
  assert.deepEqual(chosen.Outputs.IotPolicy.Value, { Ref: only(chosen, "AWS::IoT::Policy")[0] });
  for (const without of [app({}), app({ iotDevices: {}, emulator: true }), stackTemplate(), template(repository())]) {
    assert.ok(!JSON.stringify(without).includes("AWS::IoT"));
  }
});
