/**
 * The metrics that the functions print in CloudWatch's embedded metric format, by their names in
 * `functions/pipeline/src/measure.rs`.
 */
import { Duration } from "aws-cdk-lib";
import { Metric, Stats } from "aws-cdk-lib/aws-cloudwatch";
import { IFunction } from "aws-cdk-lib/aws-lambda";
import { IQueue } from "aws-cdk-lib/aws-sqs";

import { Chunks } from "./chunk.ts";
import { DeviceMetrics } from "./devices.ts";
import { QueueName, Stage } from "./permissions.ts";

/** The sources of metrics, for the alarms and the dashboard. */
export interface Measured {
  readonly name: string;
  readonly metrics: RepositoryMetrics;
  readonly queues: Record<QueueName, IQueue>;
  readonly deadLetters: Record<QueueName, IQueue>;
  readonly functions: Record<Stage, IFunction>;
  readonly devices: DeviceMetrics;
  /** What cuts targets into chunks, where it was chosen. */
  readonly chunks?: Chunks;
}

/** The metrics of the repository `name`. */
export class RepositoryMetrics {
  private readonly name: string;

  constructor(name: string) {
    this.name = name;
  }

  /** Seconds from an upload until devices see it, at the percentile `percent`. */
  uploadToPublished(percent: number): Metric {
    return this.metric("UploadToPublished", Stats.p(percent));
  }

  /** The number of published uploads. */
  published(): Metric {
    return this.metric("Published", Stats.SUM);
  }

  /** The number of refused uploads. */
  rejected(): Metric {
    return this.metric("Rejected", Stats.SUM);
  }

  /** The number of generations that became visible to devices. */
  generations(): Metric {
    return this.metric("Generations", Stats.SUM);
  }

  /** The average number of changes in a generation. */
  batchSize(): Metric {
    return this.metric("BatchSize", Stats.AVERAGE);
  }

  /** The number of generations that the gate refused. */
  gateRefusals(): Metric {
    return this.metric("GateRefusals", Stats.SUM);
  }

  /**
   * The number of objects that have a root's name but are no valid root. Refresh measures it every
   * minute.
   */
  ignoredRoots(): Metric {
    return this.metric("IgnoredRoots", Stats.MAXIMUM);
  }

  /**
   * How long the oldest generation that devices don't see yet has waited. Refresh measures it every
   * minute.
   */
  publicationLag(): Metric {
    return this.metric("PublicationLag", Stats.MAXIMUM);
  }

  /**
   * Seconds until the first of the role's published documents expires. Refresh measures it every
   * minute.
   */
  secondsToExpiry(role: string, period: Duration): Metric {
    return this.metric("SecondsToExpiry", Stats.MINIMUM, period, { Role: role });
  }

  private metric(
    metricName: string,
    statistic: string,
    period = Duration.minutes(5),
    dimensions: Record<string, string> = {},
  ): Metric {
    const dimensionsMap = { Repository: this.name, ...dimensions };
    return new Metric({ namespace: "Tufline", metricName, dimensionsMap, statistic, period });
  }
}
