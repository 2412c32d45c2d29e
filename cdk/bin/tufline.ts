/**
 * The CDK app: one stack with one repository.
 *
 *     npx cdk deploy -c access=open|iam|jwt [-c jwtIssuer=URL -c jwtAudience=A,B]
 *         [-c name=Tufline] [-c bundle=DIR] [-c architecture=arm64|x86_64] [-c hashing=auto|stream]
 *         [-c encryptionKey=ARN] [-c alarmTopic=ARN]
 *         [-c targetsKeys=1,2] [-c binsKeys=1,2] [-c snapshotKeys=1,2] [-c timestampKeys=1,2] [-c offlineTargets=true]
 *         [-c trustedRoot=CONTENTS] [-c replaceRoots=true] [-c cloudFront=true] [-c chunks=true] [-c iotDevices=all|byThingType]
 *
 * All else that can be chosen is a prop of `TuflineRepository` (lib/props.ts), for an app of your own.
 */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";

import { App } from "aws-cdk-lib";
import { Architecture } from "aws-cdk-lib/aws-lambda";

import { Access } from "../lib/access.ts";
import { ONLINE_KEYS, OnlineKey, PROGRAMS } from "../lib/permissions.ts";
import { OnlineKeys } from "../lib/props.ts";
import { TuflineStack } from "../lib/tufline-stack.ts";

/** Says what is wrong in one line, and stops. */
function refuse(message: string): never {
  console.error(`tufline: ${message}`);
  process.exit(1);
}

const app = new App();

function given(name: string): string | undefined {
  const value: unknown = app.node.tryGetContext(name);
  return value === undefined ? undefined : String(value);
}

function required(name: string, what: string): string {
  return given(name) ?? refuse(`-c ${name}=… is missing: ${what}`);
}

function choice<T>(name: string, value: string, choices: Record<string, T>): T {
  return choices[value] ?? refuse(`-c ${name}=${value}: expected ${Object.keys(choices).join(" or ")}`);
}

/** One of the choices where it is given, else nothing: the construct knows the default. */
function optional<K extends string, T>(name: K, choices: Record<string, T>): { [key in K]?: T } {
  const value = given(name);
  return value === undefined ? {} : ({ [name]: choice(name, value, choices) } as { [key in K]?: T });
}

function onlineKeys(): OnlineKeys {
  const numbers = (key: OnlineKey) => given(`${key}Keys`)?.split(",").map(Number);
  const chosen = ONLINE_KEYS.map((key) => [key, numbers(key)]).filter(([, numbers]) => numbers !== undefined);
  return Object.fromEntries(chosen) as OnlineKeys;
}

function access(): Access {
  const value = required("access", "say who may read as a device: open (everybody), iam or jwt");
  return choice<() => Access>("access", value, {
    open: () => ({ mode: "open" }),
    iam: () => ({ mode: "iam" }),
    jwt: () => ({
      mode: "jwt",
      issuer: required("jwtIssuer", "name the URL of whoever issues the tokens"),
      audience: required("jwtAudience", "name the tokens' audiences, with commas between them").split(","),
    }),
  })();
}

const architecture = given("architecture") ?? "arm64";
const bundle = resolve(given("bundle") ?? join("../target/lambda", architecture));
for (const program of PROGRAMS) {
  const file = join(program, "bootstrap");
  if (!existsSync(join(bundle, file))) {
    refuse(`no file '${file}' in ${bundle}: build it with \`cdk/bundle ${architecture}\`, or name another folder with -c bundle=DIR`);
  }
}

try {
  new TuflineStack(app, given("name") ?? "Tufline", {
    bundle,
    access: access(),
    architecture: choice("architecture", architecture, { arm64: Architecture.ARM_64, x86_64: Architecture.X86_64 }),
    ...optional("hashing", { auto: "auto" as const, stream: "stream" as const }),
    ...optional("emulator", { true: true, false: false }),
    ...optional("offlineTargets", { true: true, false: false }),
    ...optional("replaceRoots", { true: true, false: false }),
    ...optional("chunks", { true: true, false: false }),
    ...(choice("cloudFront", given("cloudFront") ?? "false", { true: true, false: false }) && { cloudFront: {} }),
    ...(given("iotDevices") !== undefined && {
      iotDevices: { pathsByThingType: choice("iotDevices", given("iotDevices")!, { all: false, byThingType: true }) },
    }),
    ...given("trustedRoot") && { trustedRoot: given("trustedRoot")! },
    encryptionKeyArn: given("encryptionKey"),
    alarmTopicArn: given("alarmTopic"),
    onlineKeys: onlineKeys(),
  });
} catch (error) {
  refuse(error instanceof Error ? error.message : String(error));
}
