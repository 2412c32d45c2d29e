import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { Stack } from "aws-cdk-lib";
import { AccountRootPrincipal, Role } from "aws-cdk-lib/aws-iam";

import { ONLINE_KEYS, STAGES } from "../lib/permissions.ts";
import { only, readable, repository, resources, rights, roleOf, statementsOfRole, template } from "./support.ts";

/** The identities in the table, in its order, and the rights of each. */
function everybody(): { of: any; rights: Record<string, string[]> } {
  const made = repository();
  const grantees = {
    "build systems": (to: Role) => made.grantUpload(to),
    "another party": (to: Role) => made.grantDelivery(to, "role", "names"),
    operators: (to: Role) => made.grantOperate(to),
  };
  const role = (name: string) => `RoleOf${name.replaceAll(" ", "")}`;
  for (const [name, grant] of Object.entries(grantees)) {
    grant(new Role(Stack.of(made), role(name), { assumedBy: new AccountRootPrincipal() }));
  }
  const of = template(made);
  const granted = (name: string) => {
    const [id] = resources(of, "AWS::IAM::Role").find(([id]) => id.startsWith(role(name)))!;
    return statementsOfRole(of, id);
  };
  return {
    of,
    rights: Object.fromEntries([
      ...Object.keys(grantees).map((name) => [name, rights(granted(name))]),
      ...STAGES.map((stage) => [stage, rights(statementsOfRole(of, roleOf(of, stage)))]),
    ]),
  };
}

/** How a bucket's policy lets identities write these keys. */
function how(of: any, bucket: string, keys: string): string {
  const [, { Properties }] = only(of, "AWS::S3::BucketPolicy", (it) => readable(it.Bucket) === bucket);
  const statements: any[] = Properties.PolicyDocument.Statement;
  const refused = statements
    .filter(({ Resource }) => [Resource].flat().some((it) => covers(readable(it), `${bucket}/${keys}`)))
    .map(({ Sid }) => Sid);
  if (refused.some((sid) => sid.startsWith("WriteOnce"))) return "created once";
  return refused.includes("WriteConditionally") ? "replaced, if unchanged since it was read" : "at will";
}

/** Whether one pattern matches everything that the other matches. */
function covers(pattern: string, other: string): boolean {
  const literally = (text: string) => text.replace(/[.+?^${}()|[\]\\]/g, "\\$&");
  return new RegExp(`^${pattern.split("*").map(literally).join(".*")}$`).test(other);
}

/** The table of everything that may be written, sent or signed with, by whom, and how. */
function table(): string {
  const { of, rights } = everybody();
  const writers: Record<string, string[]> = {};
  const add = (what: string, who: string) => (writers[what] ??= []).push(who);
  for (const [who, all] of Object.entries(rights)) {
    for (const right of all) {
      const [, action, resource] = right.match(/^(\S+) (.*)$/)!;
      if (action === "s3:PutObject") add(resource!, who);
      else if (action === "sqs:SendMessage") add(resource!.replace(/(.*)Queue$/, (_, name) => `the queue ${name.toLowerCase()}`), who);
      else if (action === "events:PutEvents") add("the event bus", who);
    }
  }
  for (const key of ONLINE_KEYS) {
    const [, { Properties }] = only(of, "AWS::KMS::Key", (it) => it.Description.startsWith(`TUF ${key} key`));
    const sign = Properties.KeyPolicy.Statement.find(({ Sid }: any) => Sid === "Sign");
    const roles = [sign.Principal.AWS].flat().map((arn: any) => arn["Fn::GetAtt"][0]);
    for (const stage of STAGES) if (roles.includes(roleOf(of, stage))) add(`the ${key} key`, stage);
  }
  const order = ["Uploads", "Repository", "Ledger", "the queue", "the event bus", "the "];
  const place = (what: string) => order.findIndex((begins) => what.startsWith(begins));
  const rows = Object.entries(writers).sort(([a], [b]) => place(a) - place(b) || (a < b ? -1 : 1));
  const lines = rows.map(([what, who]) => {
    const [bucket, ...keys] = what.split("/");
    if (keys.length === 0) return `| ${what} | ${who.join(", ")} | ${what.endsWith(" key") ? "signs" : "sends"} |`;
    return `| ${bucket!.toLowerCase()}: \`${keys.join("/")}\` | ${who.join(", ")} | ${how(of, bucket!, keys.join("/"))} |`;
  });
  return ["| what | who | how |", "|---|---|---|", ...lines].join("\n");
}

test("docs/security.md has the table of who may write what", () => {
  const text = readFileSync(new URL("../../docs/security.md", import.meta.url), "utf8");
  const section = text.split("\n## ").find((section) => section.startsWith("Who can write what\n"));
  assert.ok(section, "there is a section 'Who can write what'");
  const lines = section.split("\n").filter((line) => line.startsWith("|"));
  assert.equal(lines.join("\n"), table());
});

test("no function deletes an object, and uploaders delete only what they may upload", () => {
  const { rights } = everybody();
  const deleting = Object.entries(rights).flatMap(([who, all]) => {
    return all.filter((right) => /s3:(Delete|BypassGovernance|PutBucket|PutLifecycle)/.test(right)).map((right) => `${who}: ${right}`);
  });
  assert.deepEqual(deleting, ["build systems: s3:DeleteObject Uploads/targets/*"]);
});
