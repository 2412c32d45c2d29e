import assert from "node:assert/strict";
import { test } from "node:test";

import { App, Stack } from "aws-cdk-lib";
import { AwsSolutionsChecks } from "cdk-nag";

import { TuflineStack } from "../lib/tufline-stack.ts";
import { CLOUDFRONT, OPEN, repository, VARIANTS } from "./support.ts";

/** The findings of cdk-nag's AWS Solutions pack that nobody has acknowledged. */
function findings(stack: Stack): string[] {
  const { violations } = new AwsSolutionsChecks().validateScope(stack);
  return violations.flatMap(({ ruleName, violatingResources }) =>
    violatingResources.map(({ constructPath }) => `${ruleName} at ${constructPath}`),
  );
}

for (const [mode, props] of Object.entries(VARIANTS)) {
  test(`cdk-nag finds nothing under access '${mode}'`, () => {
    assert.deepEqual(findings(Stack.of(repository(props))), []);
  });
}

for (const [name, props] of Object.entries(CLOUDFRONT)) {
  test(`cdk-nag finds nothing with CloudFront: ${name}`, () => {
    assert.deepEqual(findings(Stack.of(repository(props))), []);
  });
}

test("cdk-nag finds nothing in the app's own stack", () => {
  assert.deepEqual(findings(new TuflineStack(new App(), "Tufline", OPEN)), []);
});

test("cdk-nag works: it finds what the emulator's template omits", () => {
  const found = findings(new TuflineStack(new App(), "Tufline", { ...OPEN, emulator: true }));
  const rules = new Set(found.map((finding) => finding.split(" ")[0]));
  assert.deepEqual(rules, new Set(["AwsSolutions-S10", "AwsSolutions-SQS4"]));
});
