import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { App, Aws, Lazy, Stack } from "aws-cdk-lib";
import { AnyPrincipal, Role, ServicePrincipal } from "aws-cdk-lib/aws-iam";

import { CHUNK } from "../lib/chunk.ts";
import { ASKED_BY_DEVICES, ONLINE_KEYS, STAGES } from "../lib/permissions.ts";
import { TuflineRepository } from "../lib/tufline-repository.ts";
import { inTemplate, listed, LISTS } from "./listed.ts";
import {
  functionOf,
  KEY_ARN,
  only,
  OPEN,
  repository,
  resources,
  rights,
  roleOf,
  stackTemplate,
  statementsOfRole,
  template,
  VARIANTS,
} from "./support.ts";

const full = stackTemplate();

/** Every right of every role in the template. The right to use a key is in the key's policy. */
const RIGHTS: Record<string, string[]> = Object.fromEntries(
  STAGES.map((stage) => [
    stage,
    [
      ...listed(stage).filter((right) => !right.startsWith("kms:")).map(inTemplate),
      ...(LISTS.never[stage] ?? []).map((right) => `not ${inTemplate(right)}`),
    ].sort(),
  ]),
);

test("the list covers all functions, and names each right of a function once", () => {
  assert.deepEqual(Object.keys(LISTS.proven), [...STAGES, CHUNK]);
  for (const stage of [...STAGES, CHUNK]) assert.equal(new Set(listed(stage)).size, listed(stage).length, stage);
  assert.ok(Object.values(RIGHTS).flat().length > 150);
});

test("every function has its own role, with its rights and no others", () => {
  const roles = STAGES.map((stage) => roleOf(full, stage));
  assert.equal(new Set(roles).size, STAGES.length);
  for (const stage of STAGES) {
    assert.deepEqual(rights(statementsOfRole(full, roleOf(full, stage))), RIGHTS[stage], stage);
  }
});

test("pack may read what serve may but chunks, and nothing else", () => {
  const besideLogs = (stage: string) => RIGHTS[stage]!.filter((right) => !right.startsWith("logs:") && !right.endsWith("/chunks/*"));
  assert.deepEqual(besideLogs("pack"), besideLogs("serve"));
});

test("with SSE-KMS every role may use the key as it needs, through S3 only", () => {
  const encrypted = template(repository(VARIANTS.iam));
  for (const stage of STAGES) {
    const statements = statementsOfRole(encrypted, roleOf(encrypted, stage));
    const both = [`kms:Decrypt ${KEY_ARN}`, ...(ASKED_BY_DEVICES.includes(stage) ? [] : [`kms:GenerateDataKey ${KEY_ARN}`])];
    assert.deepEqual(rights(statements), [...RIGHTS[stage]!, ...both].sort(), stage);
    for (const { Action, Condition } of statements.filter(({ Action }) => [Action].flat()[0].startsWith("kms:"))) {
      const [, [, region]] = Condition.StringEquals["kms:ViaService"]["Fn::Join"];
      assert.deepEqual(region, { Ref: "AWS::Region" }, `${stage} ${Action}`);
    }
  }
});

test("a key's own policy alone lets functions sign, with one algorithm, and IAM only administer", () => {
  const everything = JSON.stringify(Object.values(full.Resources).filter((it: any) => it.Type !== "AWS::KMS::Key"));
  assert.ok(!everything.includes("kms:Sign"));
  for (const key of ONLINE_KEYS) {
    const [, { Properties }] = only(full, "AWS::KMS::Key", (it) => it.Description.startsWith(`TUF ${key} key`));
    const [administer, sign, readPublicKey, ...others] = Properties.KeyPolicy.Statement;
    assert.deepEqual(others, []);

    const principal = administer.Principal.AWS["Fn::Join"][1].map((part: any) => part.Ref ?? part).join("");
    assert.equal(principal, "arn:AWS::Partition:iam::AWS::AccountId:root");
    for (const action of administer.Action) {
      assert.ok(!/[*]|Sign|Verify|Grant$|Import|GenerateMac/.test(action) || action === "kms:RevokeGrant", action);
    }
    // Otherwise CloudFormation and operators would be locked out.
    for (const action of ["PutKeyPolicy", "DescribeKey", "GetPublicKey", "ScheduleKeyDeletion"]) {
      assert.ok(administer.Action.includes(`kms:${action}`), action);
    }

    const expected = STAGES.filter((stage) => listed(stage).includes(`kms:Sign key ${key}`));
    const arns = (stages: string[]) => stages.map((stage) => ({ "Fn::GetAtt": [roleOf(full, stage), "Arn"] }));
    assert.deepEqual([sign.Principal.AWS].flat(), arns(expected), key);
    // These stages must know whether another key signs now.
    const readers = STAGES.filter((stage) => listed(stage).includes(`kms:GetPublicKey key ${key}`) && !expected.includes(stage));
    assert.deepEqual([readPublicKey.Principal.AWS].flat(), arns([...expected, ...readers]), key);
    assert.deepEqual([sign.Action, readPublicKey.Action], ["kms:Sign", "kms:GetPublicKey"]);
    const condition = { "kms:SigningAlgorithm": "ECDSA_SHA_256", "kms:MessageType": "DIGEST" };
    assert.deepEqual(sign.Condition, { StringEquals: condition });
  }
});

test("only operators write roots, the root's intent and decisions, and accept removals", () => {
  const [, { Properties }] = only(full, "AWS::IAM::ManagedPolicy");
  const operator = rights(Properties.PolicyDocument.Statement);
  assert.deepEqual(
    operator.filter((right) => right.startsWith("s3:PutObject")),
    [
      "s3:PutObject Ledger/decisions/*",
      "s3:PutObject Ledger/drafts/*",
      "s3:PutObject Ledger/generations/*",
      "s3:PutObject Ledger/index/*",
      "s3:PutObject Ledger/parties/*",
      "s3:PutObject Ledger/removals-accepted.json",
      "s3:PutObject Ledger/root-intent.json",
      "s3:PutObject Repository/metadata/*.root.json",
      "s3:PutObject Repository/metadata/*.targets.json",
    ],
  );
  assert.deepEqual(
    operator.filter((right) => /^(kms|sqs:SendMessage|ssm|events)/.test(right)),
    [
      ...["kms:DescribeKey", "kms:GetKeyPolicy", "kms:GetPublicKey", "kms:ListGrants"].flatMap((action) =>
        ["Bins", "Snapshot", "Targets", "Timestamp"].map((key) => `${action} ${key}Key`),
      ),
      "sqs:SendMessage ChangesQueue",
      "sqs:SendMessage SignQueue",
      "sqs:SendMessage UploadsQueue",
      "ssm:GetParameter arn:<AWS::Partition>:ssm:<AWS::Region>:<AWS::AccountId>:parameterVariables",
    ],
  );
  for (const name of ["root.json", "root-intent.json", "removals-accepted.json", "decisions/*"]) {
    const stages = Object.entries(RIGHTS).filter(([, all]) =>
      all.some((it) => /^s3:PutObject.*/.test(it) && it.endsWith(name)),
    );
    assert.deepEqual(stages, [], name);
  }
});

/**
 * What an operator may ask about the whole account: AWS can't restrict these requests, and they
 * only read.
 */
const OF_ACCOUNT = ["cloudwatch:DescribeAlarms", "lambda:GetAccountSettings", "lambda:ListEventSourceMappings", "scheduler:ListSchedules"];

test("no policy has a wildcard for an action or for all resources, or deletes an object", () => {
  const documents = [
    ...resources(full, "AWS::IAM::Role")
      .flatMap(([, it]) => it.Properties.Policies ?? [])
      .map((it) => it.PolicyDocument),
    ...["AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"].flatMap((type) =>
      resources(full, type).map(([, it]) => it.Properties.PolicyDocument),
    ),
  ];
  for (const right of documents.flatMap((document) => rights(document.Statement))) {
    const [action, resource] = right.replace(/^not /, "").split(" ") as [string, string];
    assert.ok(!action.includes("*") && !/^s3:Delete/.test(action), right);
    assert.ok(resource !== "*" || OF_ACCOUNT.includes(action), right);
  }
});

test("the schedule may wake refresh and nothing else", () => {
  const [, schedule] = only(full, "AWS::Scheduler::Schedule");
  const role = schedule.Properties.Target.RoleArn["Fn::GetAtt"][0];
  const [refresh] = functionOf(full, "refresh");
  const [statement, ...others] = statementsOfRole(full, role);
  assert.deepEqual(
    [statement.Action, statement.Resource],
    ["lambda:InvokeFunction", { "Fn::GetAtt": [refresh, "Arn"] }],
  );
  assert.deepEqual(others, []);
});

/** https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html */
test("a run of refresh that fails or comes late is not tried again, neither by the scheduler nor by Lambda", () => {
  const [, { Properties: schedule }] = only(full, "AWS::Scheduler::Schedule");
  const [refresh] = functionOf(full, "refresh");
  assert.deepEqual(schedule.Target.Arn, { "Fn::GetAtt": [refresh, "Arn"] });
  const [, { Properties }] = only(full, "AWS::Lambda::EventInvokeConfig");
  assert.deepEqual([Properties.FunctionName, Properties.Qualifier], [{ Ref: refresh }, "$LATEST"]);
  for (const policy of [schedule.Target.RetryPolicy, Properties]) {
    assert.deepEqual([policy.MaximumRetryAttempts, policy.MaximumEventAgeInSeconds], [0, 60]);
  }
});

function granted(grant: (to: ReturnType<typeof repository>, grantee: Role) => void, props = VARIANTS.open!): string[] {
  const made = repository(props);
  grant(made, new Role(Stack.of(made), "Grantee", { assumedBy: new ServicePrincipal("ec2.amazonaws.com") }));
  const result = template(made);
  return rights(
    statementsOfRole(result, resources(result, "AWS::IAM::Role").find(([id]) => id.startsWith("Grantee"))![0]),
  );
}

test("a CI role may upload artifacts, remove them, and read why one was refused", () => {
  assert.deepEqual(
    granted((to, grantee) => to.grantUpload(grantee)),
    [
      "s3:AbortMultipartUpload Uploads/targets/*",
      "s3:DeleteObject Uploads/targets/*",
      "s3:GetObject Ledger/rejected/*",
      "s3:GetObject Uploads/targets/*",
      "s3:GetObjectVersion Uploads/targets/*",
      "s3:ListBucket Uploads",
      "s3:ListBucketVersions Uploads",
      "s3:ListMultipartUploadParts Uploads/targets/*",
      "s3:PutObject Uploads/targets/*",
      "ssm:GetParameter arn:<AWS::Partition>:ssm:<AWS::Region>:<AWS::AccountId>:parameterVariables",
    ],
  );
});

test("with a prefix a CI role may do so for the names that begin with it, and list no others", () => {
  const made = repository();
  const grantee = new Role(Stack.of(made), "Grantee", { assumedBy: new ServicePrincipal("ec2.amazonaws.com") });
  made.grantUpload(grantee, { prefix: "gateway/v1.2/" });
  const result = template(made);
  const [id] = resources(result, "AWS::IAM::Role").find(([id]) => id.startsWith("Grantee"))!;
  const statements = statementsOfRole(result, id);
  const onObjects = rights(statements).filter((right) => right.includes("Uploads/"));
  assert.deepEqual(
    onObjects,
    ["AbortMultipartUpload", "DeleteObject", "GetObject", "GetObjectVersion", "ListMultipartUploadParts", "PutObject"].map(
      (action) => `s3:${action} Uploads/targets/gateway/v1.2/*`,
    ),
  );
  // Each of the other statements also exists without a prefix, and under no condition.
  const listing = statements.filter(({ Action }) => [Action].flat().some((action) => /^s3:List(Bucket|BucketVersions)$/.test(action)));
  assert.deepEqual(
    listing.map(({ Action, Condition }) => [Action, Condition]),
    [[["s3:ListBucket", "s3:ListBucketVersions"], { StringLike: { "s3:prefix": "targets/gateway/v1.2/*" } }]],
  );
  assert.deepEqual(
    rights(statements).filter((right) => !onObjects.includes(right)),
    granted((to, grantee) => to.grantUpload(grantee)).filter((right) => !right.includes("Uploads/")),
  );
});

test("a prefix that would match more names than it says is refused", () => {
  const grant = (prefix: string) => granted((to, grantee) => to.grantUpload(grantee, { prefix }));
  for (const prefix of [
    ...["", "/", "gateway", "gateway2/x", "/gateway/", "gateway//", "../", "a/../", "./", ".a/", "-a/", "targets/ /"],
    ...["*/", "gateway*/", "g?teway/", "gateway/*", "${aws:username}/", "$/", "a\n/", "a/\n", "é/", "a%2f/", "a\\/", "**/"],
    Lazy.string({ produce: () => "gateway/" }),
    Aws.STACK_NAME,
  ]) {
    assert.throws(() => grant(prefix), /grantUpload's prefix is .*: .*; (give|write) /, prefix);
  }
  for (const prefix of ["gateway/", "_a/B.9~+@=,-/c/"]) assert.ok(grant(prefix).length > 0);
});

test("another party's role and patterns follow TUF's rules, and mean no more in a policy", () => {
  const grant = (role: string, path: string) => granted((to, grantee) => to.grantDelivery(grantee, role, path));
  for (const role of ["", "*", "vendor*", "vendor-?", "../root", "a/b", "${aws:username}", "A", "a".repeat(65), Aws.STACK_NAME]) {
    assert.throws(() => grant(role, "vendor-x/*"), /grantDelivery's role is .*: .*; (give|write) /, role);
  }
  for (const path of ["", "*", "?", "/a", "a/", "a//b", "a/**", "a**", "${aws:username}/*", "../*", "a/../*", "a b", Aws.STACK_NAME]) {
    assert.throws(() => grant("vendor-x", path), /grantDelivery's path is .*: .*; (give|write) /, path);
  }
  for (const path of ["a", "vendor-x/*", "vendor-x/*/*", "a?/b*.bin", "a/*b"]) assert.ok(grant("vendor-x", path).length > 0);
});

test("another party may upload its own document, and files under its own names", () => {
  assert.deepEqual(
    granted((to, grantee) => to.grantDelivery(grantee, "vendor-x", "vendor-x/*")),
    [
      ...["AbortMultipartUpload", "ListMultipartUploadParts", "PutObject"].flatMap((action) => [
        `s3:${action} Uploads/delegations/vendor-x.json`,
        `s3:${action} Uploads/targets/vendor-x/*`,
      ]),
      "ssm:GetParameter arn:<AWS::Partition>:ssm:<AWS::Region>:<AWS::AccountId>:parameterVariables",
    ],
  );
});

test("a device may read, under IAM access", () => {
  const api = `arn:<AWS::Partition>:execute-api:<AWS::Region>:<AWS::AccountId>:Api/$default`;
  assert.deepEqual(
    granted((to, grantee) => to.grantRead(grantee), VARIANTS.iam),
    ["GET/chunks/*", "GET/metadata/*", "GET/pack", "GET/targets/*", "HEAD/chunks/*", "HEAD/metadata/*", "HEAD/targets/*"].map(
      (it) => `execute-api:Invoke ${api}/${it}`,
    ),
  );
  const withoutPacks = (stack: Stack) => ({ ...VARIANTS.iam!(stack), packs: { enabled: false } });
  assert.ok(!granted((to, grantee) => to.grantRead(grantee), withoutPacks).some((right) => right.includes("pack")));
  assert.throws(
    () => granted((to, grantee) => to.grantRead(grantee)),
    /access is 'open': IAM lets devices in under access 'iam' only; leave grantRead out, or change the access$/,
  );
});

test("an operator's grant is the operators' policy", () => {
  const [, { Properties }] = only(full, "AWS::IAM::ManagedPolicy");
  assert.deepEqual(
    granted((to, grantee) => to.grantOperate(grantee)),
    rights(Properties.PolicyDocument.Statement),
  );
});

test("an operator has all rights that doctor needs, and the documentation lists them", () => {
  const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
  const [, block] = read("docs/operations.md").match(/```json\n(\{\n  "Version"[^]*?)```/)!;
  const documented: string[] = JSON.parse(block!).Statement.flatMap(({ Action }: any) => Action);
  // The permissions that doctor names when a check lacks one.
  const names = /\b(?:cloudwatch|kms|lambda|s3|scheduler|sqs|ssm):[A-Z]\w+/g;
  const asked = ["deployment.rs", "mod.rs"].flatMap((file) => [...read(`cli/src/commands/doctor/${file}`).matchAll(names)].map(([it]) => it));
  assert.deepEqual([...new Set(asked)].sort(), documented.sort());
  const [, { Properties }] = only(full, "AWS::IAM::ManagedPolicy");
  const operator = rights(Properties.PolicyDocument.Statement);
  for (const action of documented) assert.ok(operator.some((right) => right.startsWith(`${action} `)), action);
  // Only for the resources that it asks about, where AWS can restrict that.
  const everywhere = operator.filter((right) => right.endsWith(" *")).map((right) => right.split(" ")[0]);
  assert.deepEqual(everywhere, OF_ACCOUNT);
});

/** A policy as IAM gets it, with all names and ARNs as long as they may be. */
function written(of: any, policy: any): string {
  const pseudo: Record<string, number> = { "AWS::Partition": 10, "AWS::Region": 14, "AWS::AccountId": 12, "AWS::URLSuffix": 16 };
  const long = ([id, attribute]: [string, string?]): string => {
    if (pseudo[id]) return "x".repeat(pseudo[id]);
    const { Type, Properties } = of.Resources[id];
    const name = { "AWS::SQS::Queue": Properties.QueueName, "AWS::SSM::Parameter": Properties.Name }[Type as string] ?? "x".repeat(63);
    const before: Record<string, number> = { "AWS::SQS::Queue": 42, "AWS::S3::Bucket": 13, "AWS::KMS::Key": 13, "AWS::SSM::Parameter": 0 };
    assert.ok(Type in before, Type);
    return "x".repeat(attribute ? before[Type]! : 0) + name;
  };
  return JSON.stringify(policy, (_, value) => {
    if (value?.Ref) return long([value.Ref]);
    if (value?.["Fn::GetAtt"]) return long(value["Fn::GetAtt"]);
    // Its parts come first, as tokens.
    if (value?.["Fn::Join"]) {
      const [between, parts] = value["Fn::Join"];
      return parts.map((part: any) => (typeof part === "string" ? part : JSON.parse(written(of, part)))).join(between);
    }
    return value;
  });
}

test("an operator's policy is short enough for IAM, also with the longest name, chunks, a key and a second key for each role", () => {
  const onlineKeys = Object.fromEntries(ONLINE_KEYS.map((role) => [role, [1, 2]]));
  const of = template(repository((stack) => ({ ...VARIANTS.iam!(stack), name: "x".repeat(32), chunks: true, onlineKeys })));
  const [, { Properties }] = only(of, "AWS::IAM::ManagedPolicy");
  // "IAM and AWS STS quotas"
  // (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>).
  const { length } = written(of, Properties.PolicyDocument);
  assert.ok(length > 5000 && length <= 6144, `${length}`);
});

test("a grantee of another account is refused, not ignored", () => {
  for (const env of [{}, { env: { account: "111122223333", region: "eu-central-1" } }]) {
    const stack = new Stack(new App(), "Stack", env);
    const made = new TuflineRepository(stack, "Repository", OPEN);
    const role = (account: string) => Role.fromRoleArn(stack, account, `arn:aws:iam::${account}:role/vendor`);
    made.grantDelivery(role("111122223333"), "vendor-x", "vendor-x/*");
    if ("env" in env) {
      const other = () => made.grantDelivery(role("444455556666"), "vendor-x", "vendor-x/*");
      assert.throws(other, /grantDelivery's grantee is of account 444455556666: /);
    }
  }
});

test("a grantee that can't hold a policy is refused, not ignored", () => {
  const grantee = { grantPrincipal: new AnyPrincipal() };
  assert.throws(() => repository().grantUpload(grantee), /grantUpload's grantee .* grant to a role, user or group$/);
});
