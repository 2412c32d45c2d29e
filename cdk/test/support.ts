/** Shared by the tests: synthesizing an app, and reading the template. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";

import { App, Duration, Stack } from "aws-cdk-lib";
import { Template } from "aws-cdk-lib/assertions";
import { Certificate } from "aws-cdk-lib/aws-certificatemanager";
import { Key } from "aws-cdk-lib/aws-kms";
import { RetentionDays } from "aws-cdk-lib/aws-logs";
import { Bucket } from "aws-cdk-lib/aws-s3";
import { Topic } from "aws-cdk-lib/aws-sns";

import { PROGRAMS } from "../lib/permissions.ts";
import { TuflineRepositoryProps } from "../lib/props.ts";
import { TuflineRepository } from "../lib/tufline-repository.ts";
import { TuflineStack } from "../lib/tufline-stack.ts";

// CDK's own check of a template takes seconds. Only the tests of the app run it.
process.env["CDK_VALIDATION"] = "false";

export const bundle = mkdtempSync(join(tmpdir(), "tufline-cdk-test-"));
for (const program of PROGRAMS) {
  mkdirSync(join(bundle, program));
  writeFileSync(join(bundle, program, "bootstrap"), `${program}: not run by these tests`);
}
after(() => rmSync(bundle, { recursive: true }));

export const ACCOUNT = "111122223333";
export const KEY_ARN = `arn:aws:kms:eu-central-1:${ACCOUNT}:key/00000000-0000-0000-0000-000000000000`;
export const OWNERSHIP_ARN = `arn:aws:acm:eu-central-1:${ACCOUNT}:certificate/00000000-0000-0000-0000-000000000002`;
export const OPEN = { bundle, access: { mode: "open" } } as const;

export type Props = Omit<TuflineRepositoryProps, "bundle" | "access"> & Partial<TuflineRepositoryProps>;

/** The template of the app's own stack. */
export function stackTemplate(emulator = false): any {
  return Template.fromStack(new TuflineStack(new App(), "Tufline", { ...OPEN, emulator })).toJSON();
}

/** A repository as the app makes it, with other props; these may need the stack. */
export function repository(props: (stack: Stack) => Props = () => ({})): TuflineRepository {
  const stack = new Stack(new App(), "Tufline");
  return new TuflineRepository(stack, "Repository", { ...OPEN, ...props(stack) });
}

/** The template of a repository's stack. */
export function template(of: TuflineRepository): any {
  return Template.fromStack(Stack.of(of)).toJSON();
}

/** Sets of props that together change everything that can be chosen. */
export const VARIANTS: Record<string, (stack: Stack) => Props> = {
  open: () => ({}),
  iam: (stack) => ({
    access: { mode: "iam" },
    name: "other",
    hashing: "stream",
    encryptionKey: Key.fromKeyArn(stack, "Key", KEY_ARN),
    alarmTopic: Topic.fromTopicArn(stack, "Topic", `arn:aws:sns:eu-central-1:${ACCOUNT}:alarms`),
  }),
  jwt: () => ({
    access: { mode: "jwt", issuer: "https://issuer.example.org", audience: ["devices"] },
    batchWindow: Duration.seconds(20),
    expiries: { timestamp: Duration.hours(12), snapshot: Duration.days(2), targets: Duration.days(30) },
    retention: { logs: RetentionDays.ONE_WEEK, uploadsExpireAfter: Duration.days(30) },
  }),
  mtls: (stack) => ({
    access: {
      mode: "mtls",
      domainName: "tuf.example.org",
      certificate: Certificate.fromCertificateArn(
        stack,
        "Certificate",
        `arn:aws:acm:eu-central-1:${ACCOUNT}:certificate/00000000-0000-0000-0000-000000000001`,
      ),
      ownershipCertificate: Certificate.fromCertificateArn(stack, "Ownership", OWNERSHIP_ARN),
      truststore: {
        bucket: Bucket.fromBucketName(stack, "Truststore", "truststore"),
        key: "devices.pem",
        version: "v1",
      },
    },
    reservedConcurrency: { sign: 1, publish: 1, refresh: 2, pack: 20 },
    throttle: { rate: 100, burst: 500 },
    packs: { throttle: { rate: 50, burst: 100 } },
    largestTarget: 1_000_000,
    inlineTargets: 0,
    removals: { percent: 10, atLeast: 5 },
  }),
};

const certificate = (stack: Stack, id: string) => {
  const arn = `arn:aws:acm:us-east-1:${ACCOUNT}:certificate/00000000-0000-0000-0000-000000000003`;
  return Certificate.fromCertificateArn(stack, id, arn);
};

/** Sets of props with CloudFront, which together change all of its settings. */
export const CLOUDFRONT: Record<string, (stack: Stack) => Props> = {
  plain: () => ({ cloudFront: {} }),
  chosen: (stack) => ({
    cloudFront: {
      domain: { name: "tuf.example.org", certificate: certificate(stack, "Domain") },
      webAclArn: `arn:aws:wafv2:us-east-1:${ACCOUNT}:global/webacl/devices/00000000-0000-0000-0000-000000000004`,
      logBucket: Bucket.fromBucketName(stack, "Logs", "logs"),
    },
    encryptionKey: new Key(stack, "Key", { enableKeyRotation: true }),
    packs: { enabled: false },
  }),
  mtls: (stack) => ({
    cloudFront: {},
    access: {
      mode: "mtls",
      domainName: "tuf.example.org",
      certificate: certificate(stack, "Domain"),
      truststore: { bucket: Bucket.fromBucketName(stack, "Truststore", "truststore"), key: "devices.pem", version: "v1" },
    },
    encryptionKey: Key.fromKeyArn(stack, "Key", KEY_ARN),
  }),
};

/** All resources of a type, by logical id. */
export function resources(template: any, type: string): [string, any][] {
  return Object.entries<any>(template.Resources).filter(([, resource]) => resource.Type === type);
}

/** The only resource of a type that `matches`. */
export function only(template: any, type: string, matches: (properties: any) => boolean = () => true): [string, any] {
  const found = resources(template, type).filter(([, resource]) => matches(resource.Properties));
  assert.equal(found.length, 1, `${found.length} resources of type ${type} match`);
  return found[0]!;
}

/** The function of a stage, with its logical id. */
export function functionOf(template: any, stage: string): [string, any] {
  return only(template, "AWS::Lambda::Function", ({ Handler }) => Handler === stage);
}

/** The logical id of a stage's role. */
export function roleOf(template: any, stage: string): string {
  return functionOf(template, stage)[1].Properties.Role["Fn::GetAtt"][0];
}

/** All statements of a role's own policies. */
export function statementsOfRole(template: any, role: string): any[] {
  const { Properties } = template.Resources[role];
  assert.equal(Properties.ManagedPolicyArns, undefined, `${role} has a managed policy`);
  const inline = (Properties.Policies ?? []).flatMap((it: any) => it.PolicyDocument.Statement);
  const attached = resources(template, "AWS::IAM::Policy")
    .filter(([, it]) => it.Properties.Roles.some((reference: any) => reference.Ref === role))
    .flatMap(([, it]) => it.Properties.PolicyDocument.Statement);
  return [...inline, ...attached];
}

/**
 * An ARN or a name in a readable form: `Repository/metadata/*`, with the resource's id in the
 * construct.
 */
export function readable(value: any): string {
  if (typeof value === "string") return value;
  const id: string = value.Ref ?? value["Fn::GetAtt"]?.[0];
  if (id)
    return id.startsWith("AWS::") ? `<${id}>` : id.replace(/^Repository(?=[A-Z])/, "").replace(/[0-9A-F]{8}$/, "");
  return value["Fn::Join"][1].map(readable).join("");
}

/** Each right that statements give or deny (`not …`), as `action resource`. */
export function rights(statements: any[]): string[] {
  const all = statements.flatMap(({ Effect, Action, Resource }) =>
    [Action]
      .flat()
      .flatMap((action) =>
        [Resource].flat().map((resource) => `${Effect === "Allow" ? "" : "not "}${action} ${readable(resource)}`),
      ),
  );
  return [...new Set(all)].sort();
}
