/** What devices ask: the API (`api.ts`) or CloudFront (`cloudfront.ts`), in front of the functions that answer them. */
import { Metric } from "aws-cdk-lib/aws-cloudwatch";

import { Stage } from "./permissions.ts";

/** Where packs are. */
export const PACK = "/pack";

/** Where devices find a repository. */
export interface DeviceUrls {
  /** Where metadata is: a URL that ends in `/`. */
  readonly metadataUrl: string;
  /** Where targets are: a URL that ends in `/`. */
  readonly targetsUrl: string;
  /** Where packs are, if devices may ask for them. */
  readonly packUrl?: string;
}

/** The URLs below `endpoint`, which ends in no `/`. */
export function deviceUrls(endpoint: string, packs: boolean): DeviceUrls {
  return {
    metadataUrl: `${endpoint}/metadata/`,
    targetsUrl: `${endpoint}/targets/`,
    ...(packs && { packUrl: `${endpoint}${PACK}` }),
  };
}

/** What devices were answered. */
export interface DeviceMetrics {
  /** Numbers of requests. */
  readonly requests: Metric[];
  /** What is drawn beside them, on another scale. */
  readonly beside: Metric[];
  /** Server errors in five minutes: an alarm for each, named after the function. */
  readonly serverErrors: Partial<Record<Stage, Metric>>;
}
