/**
 * The alarms. Each names its runbook in `docs/operations.md`.
 *
 * Each alarm watches one metric. CloudWatch charges an alarm by the metrics that it watches
 * (<https://aws.amazon.com/cloudwatch/pricing/>), so one alarm over five queues would cost as much
 * as five, and not say which queue is meant.
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

/** Four weeks before the expiry: to sign the next root, several people with keys must meet. */
const ROOT_LEFT = Duration.days(28);

/**
 * The share of a lifetime that is left when the alarm goes off. Renewal begins at a half
 * (timestamp) or a third, so at a quarter it has been failing for long.
 */
const LEFT = 1 / 4;

/** The minutes without a metric of the timestamp after which refresh counts as stopped. */
const SILENCE_MINUTES = 5;

/**
 * Normal queues alarm after 15 minutes. A large upload whose run was killed is retried only after
 * an hour and a half.
 */
const OLDEST_MESSAGE = (queue: QueueName) => (queue === "large" ? Duration.hours(2) : Duration.minutes(15));

/**
 * A generation is published seconds after it was made, and a few minutes after it in the largest
 * burst.
 */
const LONGEST_LAG = Duration.minutes(15);

/** Server errors in five minutes. A single one may be a brief fault of S3, and devices retry. */
const SERVE_ERRORS = 5;

const PERIOD = Duration.minutes(5);

/** What the alarms watch, and whom they notify. */
export interface Watched extends Measured {
  readonly lifetimes: Lifetimes;
  /** Notified when an alarm begins and when it ends. */
  readonly topic: ITopic | undefined;
}

interface Condition {
  readonly metric: Metric;
  readonly what: string;
  /** The anchor of the runbook in `docs/operations.md`. */
  readonly runbook: string;
  readonly threshold: number;
  readonly below?: true;
  readonly periods?: number;
  readonly missing?: TreatMissingData;
}

/** Creates all alarms. */
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
    // If refresh stops, only the timestamp's alarm goes off: one cause, one alarm.
    missing: TreatMissingData.IGNORE,
  });
  raise("TimestampExpires", "timestamp-expires", {
    metric: metrics.secondsToExpiry("timestamp", Duration.minutes(1)),
    what: `The timestamp is not renewed, or refresh has not run for ${SILENCE_MINUTES} minutes`,
    runbook: "alarm-timestamp-expires",
    threshold: Math.floor(lifetimes.timestamp * LEFT),
    below: true,
    periods: SILENCE_MINUTES,
    // Refresh measures every minute. Missing data means that refresh has stopped, or that `tufline
    // init` has not run yet.
    missing: TreatMissingData.BREACHING,
  });
  for (const [role, lifetime] of [
    ["snapshot", lifetimes.snapshot],
    ["targets", lifetimes.targets],
    // A small repository has no bins.
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
    // The object stays there while refresh is silent.
    missing: TreatMissingData.IGNORE,
  });
  raise("PublicationLag", "publication-lag", {
    metric: metrics.publicationLag(),
    what: `What was accepted is not published after ${LONGEST_LAG.toHumanString()}`,
    runbook: "alarm-publication-lag",
    threshold: LONGEST_LAG.toSeconds(),
    missing: TreatMissingData.IGNORE,
  });
  // Errors of the functions that devices call reach devices, so the metrics below count them.
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
