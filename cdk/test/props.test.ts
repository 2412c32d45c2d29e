import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { App, Duration, NestedStack, Stack } from "aws-cdk-lib";
import { Architecture } from "aws-cdk-lib/aws-lambda";
import { Key } from "aws-cdk-lib/aws-kms";
import { Bucket } from "aws-cdk-lib/aws-s3";

import { STAGES } from "../lib/permissions.ts";
import { TuflineRepository } from "../lib/tufline-repository.ts";
import {
  functionOf,
  KEY_ARN,
  only,
  OPEN,
  Props,
  repository,
  resources,
  rights,
  roleOf,
  statementsOfRole,
  template,
} from "./support.ts";

function configuration(props: Props): unknown {
  return JSON.parse(repository(() => props).environment["TUFLINE_CONFIG"]!);
}

test("TUFLINE_CONFIG contains only what was chosen, in the functions' format", () => {
  assert.deepEqual(configuration({}), {});
  const chosen = configuration({
    expiries: { timestamp: Duration.hours(36), targets: Duration.days(60) },
    hashing: "stream",
    removals: { percent: 10 },
    largestTarget: 5_000_000_000,
    retention: { uploadsExpireAfter: Duration.days(15) },
    maxTargetsPerBin: 500,
    signaturesAtOnce: 4,
    inlineTargets: 0,
    nestedDelegations: true,
    offlineTargets: true,
    trustedRoot: "0f".repeat(32),
    largeUploads: { above: 1_000_000, run: 10_000_000, copyAbove: 2_000_000, copyPart: 5_242_880 },
  });
  assert.deepEqual(chosen, {
    expiry: { timestamp: "129600s", targets: "5184000s" },
    hashing: "stream",
    removals: { percent: 10 },
    largest_target: 5_000_000_000,
    uploads_expire_days: 15,
    max_targets_per_bin: 500,
    signatures_at_once: 4,
    inline_targets: 0,
    nested_delegations: true,
    offline_targets: true,
    trusted_root: "0f".repeat(32),
    large_uploads: { above: 1_000_000, run: 10_000_000, copy_above: 2_000_000, copy_part: 5_242_880 },
  });
  assert.deepEqual(configuration({ removals: { atLeast: 0 } }), { removals: { at_least: 0 } });
  const later = `15:${"0f".repeat(32)}`;
  assert.deepEqual(configuration({ trustedRoot: later }), { trusted_root: later });
});

test("the functions know every field of the configuration, since they refuse others", () => {
  const read = (file: string) => readFileSync(new URL(`../../shared/tuf/src/config/${file}.rs`, import.meta.url), "utf8");
  const config = ["policy", "large_uploads", "bounds", "lifetime"].map(read).join("\n");
  const fields = ["expiry", "timestamp", "snapshot", "targets", "hashing", "removals", "percent", "at_least"];
  const large = ["large_uploads", "above", "piece", "run", "copy_above", "copy_part"];
  const others = ["largest_target", "uploads_expire_days", "signatures_at_once", "inline_targets", "trusted_root"];
  for (const field of [...fields, ...others, ...large]) {
    assert.match(config, new RegExp(`^    pub ${field}: `, "m"));
  }
});

const REFUSED: [string, Props, RegExp][] = [
  ...["0F".repeat(32), `0:${"0f".repeat(32)}`, `015:${"0f".repeat(32)}`, `:${"0f".repeat(32)}`, "15", `9007199254740992:${"0f".repeat(32)}`].map(
    (trustedRoot): [string, Props, RegExp] => [
      `an invalid root, ${trustedRoot}`,
      { trustedRoot },
      new RegExp(`trustedRoot is '${trustedRoot}': .*give it what \`tufline root show\` calls contents, .*15:CONTENTS\\)$`),
    ],
  ),
  [
    "a timestamp too short",
    { expiries: { timestamp: Duration.minutes(59) } },
    /expiries\.timestamp is 59 minutes: .*give it 1 hour at least$/,
  ],
  [
    "a timestamp longer than the default snapshot",
    { expiries: { timestamp: Duration.days(8) } },
    /expiries\.snapshot is 7 days: the timestamp, which depends on it, is valid for longer \(8 days\); /,
  ],
  [
    "a snapshot shorter than the timestamp",
    { expiries: { snapshot: Duration.hours(12) } },
    /expiries\.snapshot is 12 hours: /,
  ],
  [
    "a snapshot longer than the default targets",
    { expiries: { snapshot: Duration.days(91) } },
    /expiries\.targets is 90 days: the snapshot, .* \(91 days\); /,
  ],
  ["a window too short", { batchWindow: Duration.millis(500) }, /batchWindow in seconds is 0\.5: .*from 1 to 300$/],
  ["a window too long", { batchWindow: Duration.minutes(6) }, /batchWindow in seconds is 360: /],
  ["a broken window", { batchWindow: Duration.millis(1500) }, /batchWindow in seconds is 1\.5: /],
  ["no percentage", { removals: { percent: 101 } }, /removals\.percent is 101: .*from 0 to 100$/],
  ["half a removal", { removals: { atLeast: 0.5 } }, /removals\.atLeast is 0\.5: /],
  ["a negative removal", { removals: { atLeast: -1 } }, /removals\.atLeast is -1: /],
  ["targets of no length", { largestTarget: 0 }, /largestTarget is 0: .*from 1 to 50000000000000$/],
  ["targets that S3 can't hold", { largestTarget: 50_000_000_000_001 }, /largestTarget is 50000000000001: /],
  ["answers that Lambda can't give", { inlineTargets: 4 * 1024 * 1024 + 1 }, /inlineTargets is 4194305: .*to 4194304$/],
  ["bins that clients can't read", { maxTargetsPerBin: 10_001 }, /maxTargetsPerBin is 10001: .*from 1 to 10000$/],
  ["uploads that hash can't read", { largeUploads: { above: 2 ** 30 + 1 } }, /largeUploads\.above is 1073741825: /],
  ["pieces that fill the memory", { largeUploads: { piece: 2 ** 22 + 1 } }, /largeUploads\.piece is 4194305: /],
  ["runs of no piece", { largeUploads: { run: 2 ** 22 - 1 } }, /largeUploads\.run is 4194303: .*from 4194304 to /],
  ["copies that S3 doesn't make", { largeUploads: { copyAbove: 5e9 + 1 } }, /largeUploads\.copyAbove is 5000000001: /],
  ["copies in parts by hash", { largeUploads: { copyAbove: 1 } }, /largeUploads\.copyAbove is 1: .*from 268435456 to /],
  ["parts too small", { largeUploads: { copyPart: 5 * 2 ** 20 - 1 } }, /largeUploads\.copyPart is 5242879: /],
  ["no number", { inlineTargets: NaN }, /inlineTargets is NaN: /],
  [
    "uploads that expire too soon",
    { retention: { uploadsExpireAfter: Duration.days(14) } },
    /retention\.uploadsExpireAfter is 14 days: a message .*; give it 15 days at least$/,
  ],
  [
    "uploads that expire within a day",
    { retention: { uploadsExpireAfter: Duration.hours(36 * 24 + 1) } },
    /retention\.uploadsExpireAfter is .*: S3 expires objects by the day; give it whole days$/,
  ],
  [
    "uploads that expire in a century or two",
    { retention: { uploadsExpireAfter: Duration.days(65_536) } },
    /uploadsExpireAfter in days is 65536: /,
  ],
  ["no key at all", { onlineKeys: { bins: [] } }, /onlineKeys\.bins is \[\]: .*rising numbers, such as \[1\] or \[1, 2\]$/],
  ["the newest key first", { onlineKeys: { bins: [2, 1] } }, /onlineKeys\.bins is \[2,1\]: /],
  ["half a key", { onlineKeys: { bins: [1.5] } }, /onlineKeys\.bins is 1\.5: .*from 1 to 1000$/],
  ["a stage that never runs", { reservedConcurrency: { publish: 0 } }, /reservedConcurrency\.publish is 0: .*from 1 to 1000$/],
  ["half a run", { reservedConcurrency: { refresh: 1.5 } }, /reservedConcurrency\.refresh is 1\.5: /],
  ["no device", { throttle: { rate: 0, burst: 1 } }, /throttle\.rate is 0: .*from 1 to 1000000$/],
  ["fewer at once than a second", { throttle: { rate: 10, burst: 9 } }, /throttle\.burst is 9: .*from 10 to 1000000$/],
  ["no packs but a route", { packs: { throttle: { rate: 0, burst: 1 } } }, /packs\.throttle\.rate is 0: .*from 1 to 1000000$/],
  ["fewer packs at once than a second", { packs: { throttle: { rate: 10, burst: 9 } } }, /packs\.throttle\.burst is 9: /],
  ["packs that never run", { reservedConcurrency: { pack: 0 } }, /reservedConcurrency\.pack is 0: .*from 1 to 1000$/],
  ["an empty name", { name: "" }, /name is '': .*letters, digits and hyphens/],
  ["a name with a slash", { name: "a/b" }, /name is 'a\/b': /],
  ["a name too long", { name: "a".repeat(57) }, /name is 'a{57}': /],
];

for (const [what, props, reason] of REFUSED) {
  test(`refused, with the reason in a line: ${what}`, () => {
    assert.throws(
      () => repository(() => props),
      (error: Error) => {
        assert.match(error.message, reason);
        assert.match(error.message, /^TuflineRepository: [^\n]+: [^\n]+; [^\n]+$/);
        return true;
      },
    );
  });
}

test("values at the limits are allowed", () => {
  repository(() => ({
    expiries: { timestamp: Duration.hours(1), snapshot: Duration.hours(1), targets: Duration.hours(1) },
    batchWindow: Duration.seconds(300),
    removals: { percent: 100, atLeast: 0 },
    maxTargetsPerBin: 10_000,
    signaturesAtOnce: 256,
    inlineTargets: 4 * 1024 * 1024,
    name: "a".repeat(32),
    reservedConcurrency: { sign: 1000 },
    throttle: { rate: 1, burst: 1 },
  }));
});

test("concurrency is reserved for the named stages only", () => {
  const reserved = (props: Props) => {
    const of = template(repository(() => props));
    return STAGES.map((stage) => functionOf(of, stage)[1].Properties.ReservedConcurrentExecutions);
  };
  assert.deepEqual(reserved({}), STAGES.map(() => undefined));
  const kept: Record<string, number> = { publish: 1, refresh: 2, pack: 20 };
  assert.deepEqual(
    reserved({ reservedConcurrency: kept }),
    STAGES.map((stage) => kept[stage]),
  );
});

test("devices' requests are limited if a limit was chosen", () => {
  const limits = (props: Props) => {
    const [, { Properties }] = only(template(repository(() => props)), "AWS::ApiGatewayV2::Stage");
    return Properties.DefaultRouteSettings;
  };
  assert.equal(limits({}), undefined);
  const throttled = limits({ throttle: { rate: 100, burst: 500 } });
  assert.deepEqual(throttled, { ThrottlingRateLimit: 100, ThrottlingBurstLimit: 500 });
});

/**
 * https://github.com/aws/serverless-application-model/issues/2479: a route must exist before its
 * settings.
 */
test("packs have their own limit if one was chosen, else that of other requests", () => {
  const stage = (props: Props) => {
    const of = template(repository(() => props));
    const [route] = only(of, "AWS::ApiGatewayV2::Route", ({ RouteKey }) => RouteKey === "GET /pack");
    return { route, ...only(of, "AWS::ApiGatewayV2::Stage")[1] };
  };
  assert.equal(stage({ throttle: { rate: 100, burst: 500 } }).Properties.RouteSettings, undefined);
  const { route, Properties, DependsOn } = stage({
    throttle: { rate: 100, burst: 500 },
    packs: { throttle: { rate: 20, burst: 40 } },
  });
  assert.deepEqual(Properties.RouteSettings, { "GET /pack": { ThrottlingRateLimit: 20, ThrottlingBurstLimit: 40 } });
  assert.deepEqual(Properties.DefaultRouteSettings, { ThrottlingRateLimit: 100, ThrottlingBurstLimit: 500 });
  assert.ok(DependsOn.includes(route));
  const without = template(repository(() => ({ packs: { enabled: false, throttle: { rate: 20, burst: 40 } } })));
  assert.equal(only(without, "AWS::ApiGatewayV2::Stage")[1].Properties.RouteSettings, undefined);
});

test("names of queues, functions, logs and the parameter begin with the repository's", () => {
  const named = template(repository(() => ({ name: "other" })));
  const names = (type: string, property: string) => resources(named, type).map(([, it]) => it.Properties[property]);
  assert.deepEqual(
    names("AWS::Lambda::Function", "FunctionName").sort(),
    STAGES.map((stage) => `other-${stage}`).sort(),
  );
  assert.ok(names("AWS::SQS::Queue", "QueueName").every((name) => name.startsWith("other-")));
  assert.deepEqual(
    names("AWS::Logs::LogGroup", "LogGroupName").sort(),
    [...STAGES.map((stage) => `/aws/lambda/other-${stage}`), "/aws/vendedlogs/other-api"].sort(),
  );
  assert.deepEqual(names("AWS::SSM::Parameter", "Name"), ["/tufline/other"]);
  assert.equal(functionOf(named, "hash")[1].Properties.Environment.Variables.TUFLINE_REPOSITORY, "other");
});

test("a stack may have several repositories with different names", () => {
  const stack = new Stack(new App(), "Tufline");
  const first = new TuflineRepository(stack, "Repository", { ...OPEN });
  assert.throws(
    () => new TuflineRepository(stack, "Same", { ...OPEN }),
    /name is 'Tufline': Tufline\/Repository has it already; give each repository of a stack a name of its own$/,
  );
  const other = new Stack(new App(), "Tufline");
  new TuflineRepository(other, "Repository", { ...OPEN });
  new TuflineRepository(other, "Other", { ...OPEN, name: "other" });
  const both = template(new TuflineRepository(other, "Third", { ...OPEN, name: "third" }));
  const count = (type: string, of: any) => resources(of, type).length;
  for (const type of ["AWS::S3::Bucket", "AWS::KMS::Key", "AWS::Lambda::Function", "AWS::CloudWatch::Alarm"]) {
    assert.equal(count(type, both), 3 * count(type, template(first)), type);
  }
});

test("a nested stack's repository needs a name, since the stack's isn't known", () => {
  const nested = new NestedStack(new Stack(new App(), "Tufline"), "Nested");
  assert.throws(() => new TuflineRepository(nested, "Repository", { ...OPEN }), /name is only known at deployment: /);
});

test("functions run on the chosen architecture, arm64 by default", () => {
  const architectures = (props: Props) => {
    const found = resources(template(repository(() => props)), "AWS::Lambda::Function");
    return [...new Set(found.flatMap(([, it]) => it.Properties.Architectures))];
  };
  assert.deepEqual(architectures({}), ["arm64"]);
  assert.deepEqual(architectures({ architecture: Architecture.X86_64 }), ["x86_64"]);
});

test("changes are collected for the window, and stay hidden meanwhile", () => {
  const slow = template(repository(() => ({ batchWindow: Duration.seconds(20) })));
  const [rebuild] = functionOf(slow, "rebuild");
  const [, mapping] = only(slow, "AWS::Lambda::EventSourceMapping", (it) => it.FunctionName.Ref === rebuild);
  assert.equal(mapping.Properties.MaximumBatchingWindowInSeconds, 20);
  const [, queue] = only(slow, "AWS::SQS::Queue", ({ QueueName }) => QueueName === "Tufline-changes");
  assert.equal(queue.Properties.VisibilityTimeout, 6 * 60 + 20);
});

test("logs are kept as long as chosen", () => {
  const retention = (props: Props) =>
    new Set(
      resources(template(repository(() => props)), "AWS::Logs::LogGroup").map(
        ([, it]) => it.Properties.RetentionInDays,
      ),
    );
  assert.deepEqual(retention({}), new Set([30]));
  assert.deepEqual(retention({ retention: { logs: 7 } }), new Set([7]));
});

test("an existing uploads bucket sends its events by CDK's notifications, and its key may be used", () => {
  const existing = template(
    repository((stack) => ({
      uploadsBucket: Bucket.fromBucketAttributes(stack, "Existing", {
        bucketName: "drops",
        encryptionKey: Key.fromKeyArn(stack, "Key", KEY_ARN),
      }),
      retention: { uploadsExpireAfter: Duration.days(20) },
    })),
  );
  assert.equal(resources(existing, "AWS::S3::Bucket").length, 2);
  const [, notifications] = only(existing, "Custom::S3BucketNotifications");
  const [queue] = only(existing, "AWS::SQS::Queue", ({ QueueName }) => QueueName === "Tufline-uploads");
  assert.deepEqual(
    notifications.Properties.NotificationConfiguration.QueueConfigurations.map((it: any) => [it.Events, it.QueueArn]),
    ["Created", "Created", "Removed", "Removed"].map((what) => [
      [`s3:Object${what}:*`],
      { "Fn::GetAtt": [queue, "Arn"] },
    ]),
  );
  // S3 checks that it may send when it receives the notification's configuration.
  const [policy] = only(existing, "AWS::SQS::QueuePolicy", ({ Queues }) => Queues[0].Ref === queue);
  assert.ok([notifications.DependsOn].flat().includes(policy));
  const { Variables } = functionOf(existing, "hash")[1].Properties.Environment;
  assert.equal(Variables.TUFLINE_UPLOADS_BUCKET, "drops");
  assert.deepEqual(JSON.parse(Variables.TUFLINE_CONFIG), { uploads_expire_days: 20 });
  const of = (stage: string) => rights(statementsOfRole(existing, roleOf(existing, stage)));
  for (const stage of ["hash", "rebuild"]) assert.ok(of(stage).includes(`kms:Decrypt ${KEY_ARN}`), stage);
  for (const stage of STAGES) assert.ok(!of(stage).includes(`kms:GenerateDataKey ${KEY_ARN}`), stage);
});
