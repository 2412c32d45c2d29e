/**
 * What the two front ends for devices share: the API (`api.ts`) and CloudFront (`cloudfront.ts`).
 */
import { Metric } from "aws-cdk-lib/aws-cloudwatch";

import { Stage } from "./permissions.ts";

/** The path of packs. */
export const PACK = "/pack";

/** The URLs under which devices find a repository. */
export interface DeviceUrls {
  /** The URL of the metadata; it ends in `/`. */
  readonly metadataUrl: string;
  /** The URL of the targets; it ends in `/`. */
  readonly targetsUrl: string;
  /** The URL of packs, if devices may ask for them. */
  readonly packUrl?: string;
}

/** The URLs below `endpoint`, which doesn't end in `/`. */
export function deviceUrls(endpoint: string, packs: boolean): DeviceUrls {
  return {
    metadataUrl: `${endpoint}/metadata/`,
    targetsUrl: `${endpoint}/targets/`,
    ...(packs && { packUrl: `${endpoint}${PACK}` }),
  };
}

/** The metrics of the answers to devices. */
export interface DeviceMetrics {
  /** Counts of requests. */
  readonly requests: Metric[];
  /** Shown on the right-hand axis of the same graph. */
  readonly beside: Metric[];
  /** Server errors in five minutes. Each entry gets an alarm, named after the function. */
  readonly serverErrors: Partial<Record<Stage, Metric>>;
}
