/**
 * The operator's dashboard. It has at most 50 metrics: CloudWatch includes three such dashboards
 * for free.
 */
import { Aws, Duration } from "aws-cdk-lib";
import { Alarm, AlarmStatusWidget, Dashboard, GraphWidget, IMetric, Row, Stats } from "aws-cdk-lib/aws-cloudwatch";
import { IFunction } from "aws-cdk-lib/aws-lambda";
import { IQueue } from "aws-cdk-lib/aws-sqs";
import { Construct } from "constructs";

import { CHUNK } from "./chunk.ts";
import { Measured } from "./metrics.ts";
import { QueueName, QUEUES, STAGES } from "./permissions.ts";

const PERIOD = Duration.minutes(5);
const EXPIRING = ["root", "timestamp", "snapshot", "targets", "bins"];

/** What the dashboard shows. */
export interface Shown extends Measured {
  readonly alarms: Alarm[];
}

function graph(title: string, left: IMetric[], right: IMetric[] = []): GraphWidget {
  return new GraphWidget({ title, left, right, width: 8, height: 6, leftYAxis: { min: 0 }, rightYAxis: { min: 0 } });
}

/**
 * Creates the dashboard. Its name contains the region, since an account's dashboards are shared by
 * all regions.
 */
export function dashboard(scope: Construct, shown: Shown): Dashboard {
  const { name, metrics, queues, deadLetters, functions, devices, chunks, alarms } = shown;
  const ofQueues = (of: Record<QueueName, IQueue>, make: (queue: IQueue, label: string) => IMetric) =>
    QUEUES.map((queue) => make(of[queue], queue));
  const ofFunctions = (make: (stage: IFunction, label: string) => IMetric) =>
    STAGES.map((stage) => make(functions[stage], stage));
  const maximum = { statistic: Stats.MAXIMUM, period: PERIOD };
  const sum = { statistic: Stats.SUM, period: PERIOD };
  const dashboard = new Dashboard(scope, "Dashboard", { dashboardName: `${name}-${Aws.REGION}` });
  dashboard.addWidgets(
    new AlarmStatusWidget({ title: "Alarms", alarms, width: 24, height: 4 }),
    new Row(
      graph(
        "From upload to published (s)",
        [
          ...[50, 99].map((percent) => metrics.uploadToPublished(percent).with({ label: `p${percent}` })),
          metrics.publicationLag().with({ label: "oldest that waits" }),
        ],
      ),
      graph("Uploads", [metrics.published(), metrics.rejected()]),
      graph("Generations", [metrics.generations(), metrics.gateRefusals(), metrics.ignoredRoots()], [metrics.batchSize()]),
    ),
    new Row(
      graph(
        "Time to expiry (s)",
        EXPIRING.map((role) => metrics.secondsToExpiry(role, PERIOD).with({ label: role })),
      ),
      graph(
        "Messages that wait",
        [
          ...ofQueues(queues, (queue, label) => queue.metricApproximateNumberOfMessagesVisible({ ...maximum, label })),
          ...(chunks ? [chunks.queue.metricApproximateNumberOfMessagesVisible({ ...maximum, label: CHUNK })] : []),
        ],
        ofQueues(queues, (queue, label) =>
          queue.metricApproximateAgeOfOldestMessage({ ...maximum, label: `${label}: oldest (s)` }),
        ),
      ),
      graph(
        "Dead letters",
        ofQueues(deadLetters, (queue, label) => queue.metricApproximateNumberOfMessagesVisible({ ...maximum, label })),
      ),
    ),
    new Row(
      graph(
        "Errors",
        [
          ...ofFunctions((stage, label) => stage.metricErrors({ ...sum, label })),
          ...(chunks ? [chunks.function.metricErrors({ ...sum, label: CHUNK })] : []),
        ],
      ),
      graph(
        "Duration (ms, longest)",
        [
          ...ofFunctions((stage, label) => stage.metricDuration({ ...maximum, label })),
          ...(chunks ? [chunks.function.metricDuration({ ...maximum, label: CHUNK })] : []),
        ],
      ),
      graph("Requests of devices", devices.requests, devices.beside),
    ),
  );
  return dashboard;
}
