/** The metrics that the functions print in CloudWatch's embedded format, by the names of `functions/pipeline/src/measure.rs`. */
import { Duration } from "aws-cdk-lib";
import { Metric, Stats } from "aws-cdk-lib/aws-cloudwatch";
import { IFunction } from "aws-cdk-lib/aws-lambda";
import { IQueue } from "aws-cdk-lib/aws-sqs";

import { Chunks } from "./chunk.ts";
import { DeviceMetrics } from "./devices.ts";
import { QueueName, Stage } from "./permissions.ts";

/** What has metrics: the alarms are about it, and the dashboard shows it. */
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

/** Metrics of the repository `name`. */
export class RepositoryMetrics {
  private readonly name: string;

  constructor(name: string) {
    this.name = name;
  }

  /** From an upload until devices see it; percentile `percent`. */
  uploadToPublished(percent: number): Metric {
    return this.metric("UploadToPublished", Stats.p(percent));
  }

  /** Uploads that were published. */
  published(): Metric {
    return this.metric("Published", Stats.SUM);
  }

  /** Uploads that were refused. */
  rejected(): Metric {
    return this.metric("Rejected", Stats.SUM);
  }

  /** Generations that were shown to devices. */
  generations(): Metric {
    return this.metric("Generations", Stats.SUM);
  }

  /** Changes that went into one generation. */
  batchSize(): Metric {
    return this.metric("BatchSize", Stats.AVERAGE);
  }

  /** Generations that the gate refused. */
  gateRefusals(): Metric {
    return this.metric("GateRefusals", Stats.SUM);
  }

  /** What lies where roots belong and is none. Refresh measures it each minute. */
  ignoredRoots(): Metric {
    return this.metric("IgnoredRoots", Stats.MAXIMUM);
  }

  /** How long the oldest generation has waited that devices don't see yet. Refresh measures it each minute. */
  publicationLag(): Metric {
    return this.metric("PublicationLag", Stats.MAXIMUM);
  }

  /** Until the role's first published document expires. Refresh measures it each minute. */
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
