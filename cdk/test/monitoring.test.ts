import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { Duration } from "aws-cdk-lib";

import { only, Props, readable, repository, resources, template, VARIANTS } from "./support.ts";

const DAY = 86_400;

/** All alarms by name, each with its condition in one line. */
function alarms(props: Props = {}): Record<string, string> {
  const found = resources(template(repository(() => props)), "AWS::CloudWatch::Alarm").map(([, { Properties: it }]) => {
    const operator = it.ComparisonOperator === "LessThanThreshold" ? "<" : ">=";
    const of = it.Dimensions.map(({ Value }: any) =>
      readable((Value.Ref ?? Value["Fn::GetAtt"]) ? attribute(Value) : Value),
    );
    const metric = `${it.Namespace} ${it.MetricName} of ${of.join(" ")}`;
    const when = `${it.Statistic} ${operator} ${it.Threshold} in ${it.EvaluationPeriods} x ${it.Period} s`;
    return [it.AlarmName, `${metric}: ${when}, missing ${it.TreatMissingData}`] as const;
  });
  return Object.fromEntries(found);
}

function attribute(value: any): any {
  return value["Fn::GetAtt"] ? { Ref: value["Fn::GetAtt"][0] } : value;
}

test("each alarm watches one metric, for its condition", () => {
  const expiry = (role: string, threshold: number) =>
    `Tufline SecondsToExpiry of Tufline ${role}: Minimum < ${threshold} in 1 x 300 s, missing ignore`;
  const queues = Object.entries({ uploads: "Uploads", large: "Large", changes: "Changes", sign: "Sign", publish: "Publish" });
  const ofQueues = queues.flatMap(([name, id]) => [
    [
      `Tufline-${name}-dead-letters`,
      `AWS/SQS ApproximateNumberOfMessagesVisible of ${id}DeadLetters: Maximum >= 1 in 1 x 300 s, missing notBreaching`,
    ],
    [
      `Tufline-${name}-old-message`,
      `AWS/SQS ApproximateAgeOfOldestMessage of ${id}Queue: Maximum >= ${name === "large" ? 7200 : 900} in 1 x 300 s, missing notBreaching`,
    ],
  ]);
  const ofFunctions = ["Hash", "Large", "Rebuild", "Sign", "Publish", "Refresh"].map((id) => [
    `Tufline-${id.toLowerCase()}-errors`,
    `AWS/Lambda Errors of ${id}: Sum >= 1 in 1 x 300 s, missing notBreaching`,
  ]);
  assert.deepEqual(alarms(), {
    "Tufline-root-expires": expiry("root", 28 * DAY),
    "Tufline-timestamp-expires": `Tufline SecondsToExpiry of Tufline timestamp: Minimum < ${DAY / 4} in 5 x 60 s, missing breaching`,
    "Tufline-snapshot-expires": expiry("snapshot", (7 * DAY) / 4),
    "Tufline-targets-expires": expiry("targets", (90 * DAY) / 4),
    "Tufline-bins-expires": expiry("bins", (90 * DAY) / 4),
    ...Object.fromEntries(ofQueues),
    "Tufline-gate-refusal": "Tufline GateRefusals of Tufline: Sum >= 1 in 1 x 300 s, missing notBreaching",
    "Tufline-ignored-root": "Tufline IgnoredRoots of Tufline: Maximum >= 1 in 1 x 300 s, missing ignore",
    "Tufline-publication-lag": "Tufline PublicationLag of Tufline: Maximum >= 900 in 1 x 300 s, missing ignore",
    ...Object.fromEntries(ofFunctions),
    "Tufline-serve-errors": "AWS/ApiGateway 5xx of Api: Sum >= 5 in 1 x 300 s, missing notBreaching",
  });
});

test("the pages know all alarms: their number, and a row for each", () => {
  const read = (page: string) => readFileSync(new URL(`../../docs/${page}`, import.meta.url), "utf8");
  const names = Object.keys(alarms({ chunks: true })).map((name) => name.replace(/^Tufline-/, ""));
  const [, counted] = /\| CloudWatch: alarms, month +\| +(\d+) \|/.exec(read("cost-counted.md"))!;
  assert.equal(Number(counted), Object.keys(alarms()).length);
  const table = read("operations.md").split("\n## Alarms\n")[1]!.split("\n### ")[0]!;
  for (const name of names) {
    const kind = name.replace(/^(uploads|large|changes|sign|publish)-(dead-letters|old-message)$/, "QUEUE-$2");
    const shown = kind.replace(/^(hash|large|rebuild|sign|publish|refresh)-errors$/, "STAGE-errors");
    assert.ok(table.includes(`\`${shown}\``), name);
  }
});

test("the thresholds of expiry are a quarter of the operator's lifetimes", () => {
  const expiries = { timestamp: Duration.hours(2), snapshot: Duration.days(4), targets: Duration.days(8) };
  const chosen = alarms({ expiries });
  assert.match(chosen["Tufline-timestamp-expires"]!, /< 1800 in/);
  assert.match(chosen["Tufline-snapshot-expires"]!, /< 86400 in/);
  for (const role of ["targets", "bins"]) assert.match(chosen[`Tufline-${role}-expires`]!, /< 172800 in/);
});

test("each alarm names its runbook, and notifies the topic when it begins and ends", () => {
  const runbooks = new Set<string>();
  for (const [, { Properties }] of resources(template(repository(VARIANTS.iam)), "AWS::CloudWatch::Alarm")) {
    const found = / docs\/operations\.md#(alarm-[a-z-]+)$/.exec(Properties.AlarmDescription);
    assert.ok(found, Properties.AlarmDescription);
    runbooks.add(found[1]!);
    assert.deepEqual([Properties.AlarmActions.length, Properties.OKActions.length], [1, 1]);
    assert.match(readable(Properties.AlarmActions[0]), /^arn:aws:sns:.*:alarms$/);
  }
  assert.deepEqual([...runbooks].sort(), [
    "alarm-dead-letters",
    "alarm-function-errors",
    "alarm-gate-refusal",
    "alarm-ignored-root",
    "alarm-old-message",
    "alarm-publication-lag",
    "alarm-role-expires",
    "alarm-root-expires",
    "alarm-serve-errors",
    "alarm-timestamp-expires",
  ]);
});

test("without a topic alarms notify nobody", () => {
  for (const [, { Properties }] of resources(template(repository()), "AWS::CloudWatch::Alarm")) {
    assert.deepEqual([Properties.AlarmActions, Properties.OKActions], [undefined, undefined]);
  }
});

/** The name and dimensions of each metric on the dashboard. */
function onDashboard(): string[][] {
  const [, { Properties }] = only(template(repository()), "AWS::CloudWatch::Dashboard");
  const text: string = Properties.DashboardBody["Fn::Join"][1].map(readable).join("");
  const widgets: any[] = JSON.parse(text).widgets;
  return widgets
    .flatMap(({ properties }) => properties.metrics ?? [])
    .map((metric: any[]) => metric.filter((it) => typeof it === "string"));
}

test("the dashboard's metrics fit the free tier, and the functions print those of Tufline", () => {
  const shown = onDashboard();
  // https://aws.amazon.com/cloudwatch/pricing/: three dashboards of up to 50 metrics.
  assert.ok(shown.length <= 50 && shown.length > 30, `${shown.length}`);
  const ours = shown.filter(([namespace]) => namespace === "Tufline");
  const names = new Set(ours.map(([, name]) => name!));
  assert.deepEqual([...names].sort(), [
    "BatchSize",
    "GateRefusals",
    "Generations",
    "IgnoredRoots",
    "PublicationLag",
    "Published",
    "Rejected",
    "SecondsToExpiry",
    "UploadToPublished",
  ]);
  const measure = readFileSync(new URL("../../functions/pipeline/src/measure.rs", import.meta.url), "utf8");
  for (const name of names) assert.ok(measure.includes(`"${name}"`), name);
  for (const role of ["root", "timestamp", "snapshot", "targets", "bins"]) {
    assert.ok(
      ours.some((metric) => metric.join() === `Tufline,SecondsToExpiry,Repository,Tufline,Role,${role}`),
      role,
    );
    assert.ok(measure.includes(`"${role}"`), role);
  }
});
