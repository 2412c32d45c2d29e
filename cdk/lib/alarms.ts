/**
 * The alarms. Each names its runbook in `docs/operations.md`.
 *
 * Each watches one metric. CloudWatch charges an alarm by the metrics that it watches
 * (<https://aws.amazon.com/cloudwatch/pricing/>), so one over five queues would cost as much as five and not say which.
 */
import { Duration } from "aws-cdk-lib";
import { Alarm, ComparisonOperator, Metric, Stats, TreatMissingData } from "aws-cdk-lib/aws-cloudwatch";
import { SnsAction } from "aws-cdk-lib/aws-cloudwatch-actions";
import { ITopic } from "aws-cdk-lib/aws-sns";
import { Construct } from "constructs";

import { CHUNK } from "./chunk.ts";
import { Lifetimes } from "./config.ts";
import { Measured } from "./metrics.ts";
import { capitalized } from "./names.ts";
import { ASKED_BY_DEVICES, QueueName, QUEUES, STAGES } from "./permissions.ts";

/** Weeks ahead: the next root needs people with keys, at one table. */
const ROOT_LEFT = Duration.days(28);

/** Renewal begins at a half (timestamp) or a third of the lifetime: at a quarter it has failed for long. */
const LEFT = 1 / 4;

/** Minutes without a timestamp's metric until refresh counts as stopped. */
const SILENCE_MINUTES = 5;

/** A large upload whose run was killed comes again after an hour and a half. */
const OLDEST_MESSAGE = (queue: QueueName) => (queue === "large" ? Duration.hours(2) : Duration.minutes(15));

/** A generation takes seconds from its making to its publication, and the largest burst a few minutes. */
const LONGEST_LAG = Duration.minutes(15);

/** In five minutes: one may be S3's bad moment, and devices ask again. */
const SERVE_ERRORS = 5;

const PERIOD = Duration.minutes(5);

/** What the alarms are about. */
export interface Watched extends Measured {
  readonly lifetimes: Lifetimes;
  /** Is told when an alarm is raised and when it is over. */
  readonly topic: ITopic | undefined;
}

interface Condition {
  readonly metric: Metric;
  readonly what: string;
  /** The heading in `docs/operations.md`, as a link has it. */
  readonly runbook: string;
  readonly threshold: number;
  readonly below?: true;
  readonly periods?: number;
  readonly missing?: TreatMissingData;
}

/** Makes all alarms. */
export function alarms(scope: Construct, watched: Watched): Alarm[] {
  const { name, metrics, lifetimes, queues, deadLetters, functions, devices, chunks, topic } = watched;
  const made: Alarm[] = [];
  const raise = (id: string, suffix: string, condition: Condition) => {
    const { metric, what, runbook, threshold, below, periods = 1, missing } = condition;
    const { LESS_THAN_THRESHOLD, GREATER_THAN_OR_EQUAL_TO_THRESHOLD } = ComparisonOperator;
    const alarm = new Alarm(scope, `${id}Alarm`, {
      alarmName: `${name}-${suffix}`,
      alarmDescription: `${what}: docs/operations.md#${runbook}`,
      metric,
      threshold,
      comparisonOperator: below ? LESS_THAN_THRESHOLD : GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
      evaluationPeriods: periods,
      treatMissingData: missing ?? TreatMissingData.NOT_BREACHING,
    });
    if (topic) {
      alarm.addAlarmAction(new SnsAction(topic));
      alarm.addOkAction(new SnsAction(topic));
    }
    made.push(alarm);
  };

  raise("RootExpires", "root-expires", {
    metric: metrics.secondsToExpiry("root", PERIOD),
    what: `A root expires in less than ${ROOT_LEFT.toHumanString()}`,
    runbook: "alarm-root-expires",
    threshold: ROOT_LEFT.toSeconds(),
    below: true,
    // The timestamp's alarm alone tells that refresh is silent: one cause, one alarm.
    missing: TreatMissingData.IGNORE,
  });
  raise("TimestampExpires", "timestamp-expires", {
    metric: metrics.secondsToExpiry("timestamp", Duration.minutes(1)),
    what: `The timestamp is not renewed, or refresh has not run for ${SILENCE_MINUTES} minutes`,
    runbook: "alarm-timestamp-expires",
    threshold: Math.floor(lifetimes.timestamp * LEFT),
    below: true,
    periods: SILENCE_MINUTES,
    // Refresh measures each minute: no data means that it doesn't run, or that there is no `tufline init` yet.
    missing: TreatMissingData.BREACHING,
  });
  for (const [role, lifetime] of [
    ["snapshot", lifetimes.snapshot],
    ["targets", lifetimes.targets],
    // There are none while the repository is small.
    ["bins", lifetimes.targets],
  ] as const) {
    raise(`${capitalized(role)}Expires`, `${role}-expires`, {
      metric: metrics.secondsToExpiry(role, PERIOD),
      what: `A document of ${role} is not renewed`,
      runbook: "alarm-role-expires",
      threshold: Math.floor(lifetime * LEFT),
      below: true,
      missing: TreatMissingData.IGNORE,
    });
  }
  for (const queue of QUEUES) {
    raise(`${capitalized(queue)}DeadLetters`, `${queue}-dead-letters`, {
      metric: deadLetters[queue].metricApproximateNumberOfMessagesVisible({ statistic: Stats.MAXIMUM, period: PERIOD }),
      what: `Messages of ${queue} failed five times`,
      runbook: "alarm-dead-letters",
      threshold: 1,
    });
    raise(`${capitalized(queue)}OldMessage`, `${queue}-old-message`, {
      metric: queues[queue].metricApproximateAgeOfOldestMessage({ statistic: Stats.MAXIMUM, period: PERIOD }),
      what: `A message of ${queue} has waited for ${OLDEST_MESSAGE(queue).toHumanString()}`,
      runbook: "alarm-old-message",
      threshold: OLDEST_MESSAGE(queue).toSeconds(),
    });
  }
  raise("GateRefusal", "gate-refusal", {
    metric: metrics.gateRefusals(),
    what: "The gate refused a generation",
    runbook: "alarm-gate-refusal",
    threshold: 1,
  });
  raise("IgnoredRoot", "ignored-root", {
    metric: metrics.ignoredRoots(),
    what: "Something lies where a root belongs, and is none",
    runbook: "alarm-ignored-root",
    threshold: 1,
    // It doesn't go away while refresh is silent.
    missing: TreatMissingData.IGNORE,
  });
  raise("PublicationLag", "publication-lag", {
    metric: metrics.publicationLag(),
    what: `What was accepted is not published after ${LONGEST_LAG.toHumanString()}`,
    runbook: "alarm-publication-lag",
    threshold: LONGEST_LAG.toSeconds(),
    missing: TreatMissingData.IGNORE,
  });
  // Other functions' errors reach devices, and so the metrics below.
  for (const stage of STAGES.filter((stage) => !ASKED_BY_DEVICES.includes(stage))) {
    raise(`${capitalized(stage)}Errors`, `${stage}-errors`, {
      metric: functions[stage].metricErrors({ statistic: Stats.SUM, period: PERIOD }),
      what: `The function ${stage} crashed, failed or timed out`,
      runbook: "alarm-function-errors",
      threshold: 1,
    });
  }
  if (chunks) {
    raise("ChunkDeadLetters", `${CHUNK}-dead-letters`, {
      metric: chunks.deadLetters.metricApproximateNumberOfMessagesVisible({ statistic: Stats.MAXIMUM, period: PERIOD }),
      what: "Targets could not be cut into chunks, five times",
      runbook: "alarm-chunk",
      threshold: 1,
    });
  }
  for (const [stage, metric] of Object.entries(devices.serverErrors)) {
    raise(`${capitalized(stage)}Errors`, `${stage}-errors`, {
      metric,
      what: `Devices got ${SERVE_ERRORS} server errors in five minutes`,
      runbook: "alarm-serve-errors",
      threshold: SERVE_ERRORS,
    });
  }
  return made;
}
