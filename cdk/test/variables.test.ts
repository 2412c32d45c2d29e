import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { functionOf, only, readable, stackTemplate } from "./support.ts";
import { STAGES } from "../lib/permissions.ts";

const template = stackTemplate();

const EACH = (kind: string, names: string[]) => names.map((name) => `TUFLINE_${kind}_${name}`);
const QUEUES = ["UPLOADS", "LARGE", "CHANGES", "SIGN", "PUBLISH"];

/** The contract with the functions and the command line. */
const VARIABLES = [
  "TUFLINE_UPLOADS_BUCKET",
  "TUFLINE_UPLOADS_PREFIX",
  "TUFLINE_REPOSITORY_BUCKET",
  "TUFLINE_LEDGER_BUCKET",
  ...EACH("QUEUE", QUEUES),
  ...EACH("DLQ", QUEUES),
  ...EACH("KEY", ["TARGETS", "BINS", "SNAPSHOT", "TIMESTAMP"]),
  "TUFLINE_EVENT_BUS",
  "TUFLINE_CONFIG",
  "TUFLINE_REPOSITORY",
];

/** The variables that only outsiders need. */
const OUTSIDE = ["TUFLINE_METADATA_URL", "TUFLINE_TARGETS_URL", "TUFLINE_PACK_URL", "TUFLINE_ACCESS", "TUFLINE_VERSION"];

/** The variables of a single function. */
const OWN: Record<string, string[]> = { pack: ["TUFLINE_PACK_MAX_AGE"] };

test("functions get the names of all resources, and the configuration", () => {
  for (const stage of STAGES) {
    const { Variables } = functionOf(template, stage)[1].Properties.Environment;
    assert.deepEqual(Object.keys(Variables).sort(), [...VARIABLES, ...(OWN[stage] ?? [])].sort(), stage);
  }
});

test("a parameter has them all for operators' tools, with what only outsiders need", () => {
  const [, { Properties }] = only(template, "AWS::SSM::Parameter");
  assert.deepEqual([Properties.Name, Properties.Type], ["/tufline/Tufline", "String"]);
  const value: string = Properties.Value["Fn::Join"][1].map(readable).join("");
  const told = JSON.parse(value);
  const expected = [...VARIABLES, ...OUTSIDE, "AWS_REGION"];
  assert.deepEqual(Object.keys(told).sort(), expected.sort());
  assert.deepEqual([told.TUFLINE_QUEUE_UPLOADS, told.AWS_REGION], ["UploadsQueue", "<AWS::Region>"]);
  assert.match(told.TUFLINE_METADATA_URL, /\/metadata\/$/);
  assert.match(told.TUFLINE_PACK_URL, /\/pack$/);
  const workspace = readFileSync(new URL("../../Cargo.toml", import.meta.url), "utf8");
  assert.ok(workspace.includes(`[workspace.package]\nversion = "${told.TUFLINE_VERSION}"\n`), told.TUFLINE_VERSION);
});

test("the stack's outputs are the variables, and the API's id", () => {
  const variables = Object.entries<any>(template.Outputs).map(([name, { Description }]) => {
    // As tests/cloud_lib/emulator.py reads them.
    const variable = `TUFLINE_${name.replace(/(?<!^)(?=[A-Z])/g, "_").toUpperCase()}`;
    if (name !== "ApiId") assert.equal(Description, variable);
    return variable;
  });
  const expected = [...VARIABLES, ...OUTSIDE, "TUFLINE_API_ID"];
  assert.deepEqual(variables.sort(), expected.sort());
});
