/**
 * The CDK app: one stack with one repository.
 *
 *     npx cdk deploy [-c name=Tufline] [-c bundle=DIR] [-c architecture=arm64|x86_64]
 */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";

import { App } from "aws-cdk-lib";
import { Architecture } from "aws-cdk-lib/aws-lambda";

import { TuflineStack } from "../lib/tufline-stack.ts";

/** Says what is wrong in one line, and stops. */
function refuse(message: string): never {
  console.error(`tufline: ${message}`);
  process.exit(1);
}

const app = new App();

function context(name: string, otherwise: string): string {
  const value: unknown = app.node.tryGetContext(name);
  return value === undefined ? otherwise : String(value);
}

function choice<T>(name: string, choices: Record<string, T>, otherwise: string): T {
  const value = context(name, otherwise);
  return choices[value] ?? refuse(`-c ${name}=${value}: expected ${Object.keys(choices).join(" or ")}`);
}

const bundle = resolve(context("bundle", "../target/lambda"));
if (!existsSync(join(bundle, "bootstrap"))) {
  refuse(`no file 'bootstrap' in ${bundle}: build the functions first, or name their folder with -c bundle=DIR`);
}

new TuflineStack(app, context("name", "Tufline"), {
  bundle,
  architecture: choice("architecture", { arm64: Architecture.ARM_64, x86_64: Architecture.X86_64 }, "arm64"),
  emulator: choice<() => boolean>("emulator", { true: () => true, false: () => false }, "false")(),
});
