/** All choices for a repository. `config.ts`, `access.ts` and `names.ts` check them. */
import { Duration } from "aws-cdk-lib";
import { ICertificate } from "aws-cdk-lib/aws-certificatemanager";
import { IKey } from "aws-cdk-lib/aws-kms";
import { Architecture } from "aws-cdk-lib/aws-lambda";
import { RetentionDays } from "aws-cdk-lib/aws-logs";
import { IBucket } from "aws-cdk-lib/aws-s3";
import { ITopic } from "aws-cdk-lib/aws-sns";

import { Access, MtlsAccess } from "./access.ts";

export interface TuflineRepositoryProps {
  /**
   * The folder with the functions' binaries, `pipeline/bootstrap` and `devices/bootstrap`, built
   * for {@link architecture}. `cdk/bundle` makes it.
   *
   * @default the binaries that the npm package brings; a checkout has none
   */
  readonly bundle?: string;

  /**
   * The processor that the binaries are built for.
   *
   * @default Architecture.ARM_64, which costs a fifth less than x86_64
   */
  readonly architecture?: Architecture;

  /**
   * The beginning of the names of queues, functions, log groups, alarms and the SSM parameter
   * `/tufline/<name>`: letters, digits and hyphens. Unique in its account and region. Changing it
   * later replaces the queues together with their waiting messages (`tufline reconcile` brings the
   * work back), but no bucket and no key.
   *
   * @default the stack's name
   */
  readonly name?: string;

  /**
   * Who may read as a device. There is no default, so that nobody opens a repository to the world,
   * or locks its devices out, by accident.
   */
  readonly access: Access;

  /**
   * How long changes are collected before they become one generation: whole seconds, 1 to 300. A
   * longer window makes fewer generations, which is cheaper for devices if uploads come in a steady
   * stream. Each upload waits up to that long.
   *
   * @default Duration.seconds(1), the shortest window that SQS has for large batches
   */
  readonly batchWindow?: Duration;

  /**
   * How long signed documents are valid.
   *
   * @default see {@link Expiries}
   */
  readonly expiries?: Expiries;

  /**
   * How to find the SHA-256 of an upload. `auto` trusts the full-object checksum that S3 computed.
   * `stream` always reads the upload, which takes longer and relies on no computation outside
   * Tufline.
   *
   * @default "auto"
   */
  readonly hashing?: "auto" | "stream";

  /**
   * The largest allowed upload, in bytes. Larger ones are refused.
   *
   * @default 50 TB, S3's own limit
   */
  readonly largestTarget?: number;

  /**
   * How many removals at once wait for an operator's consent.
   *
   * @default see {@link Removals}
   */
  readonly removals?: Removals;

  /**
   * The most targets that one targets role lists: 1 to 10,000. A role with more is split into 16
   * bins. Smaller bins make a device's download for a change smaller, and the snapshot larger. Bins
   * are never merged again.
   *
   * @default 1000
   */
  readonly maxTargetsPerBin?: number;

  /**
   * How many documents are signed at the same time: 1 to 256. Signatures that KMS throttles are
   * retried.
   *
   * @default 16: some 210 signatures a second, fewer than KMS allows in any region by default
   */
  readonly signaturesAtOnce?: number;

  /**
   * The keys of each online role.
   *
   * @default see {@link OnlineKeys}
   */
  readonly onlineKeys?: OnlineKeys;

  /**
   * The longest target that the serve function answers itself, in bytes: at most 4 MiB, since a
   * Lambda function can answer 6 MB of Base64. Longer targets get a redirect to S3. With 0, all
   * targets that aren't empty do.
   *
   * @default 256 KiB: a target of that length arrives sooner than a device could follow a redirect
   */
  readonly inlineTargets?: number;

  /**
   * Which uploads count as large and go through a queue of their own, and in what pieces.
   *
   * @default see {@link LargeUploads}
   */
  readonly largeUploads?: LargeUploads;

  /**
   * Whether parties to whom names are delegated (`tufline delegation`) may delegate further.
   *
   * @default false
   */
  readonly nestedDelegations?: boolean;

  /**
   * Whether people sign the top-level targets role (`tufline targets`). This needs a repository
   * that began with bins.
   *
   * @default false
   */
  readonly offlineTargets?: boolean;

  /**
   * The digest of the first root, which devices ship with: what `tufline root show` calls contents.
   * No other root is then accepted in its place. If its version isn't 1, put the version and a
   * colon in front (`15:CONTENTS`), as for `tufline import` of a repository whose older roots can't
   * be verified.
   *
   * @default version 1 in the bucket, where nobody can replace it
   */
  readonly trustedRoot?: string;

  /**
   * Whether objects in `metadata/` may be replaced, by compare-and-swap, except the first root and
   * those before it. With this, `tufline root publish` can replace an object that somebody stored
   * under a root's name. Turn it off again afterwards.
   *
   * @default false: nobody can replace them
   */
  readonly replaceRoots?: boolean;

  /**
   * Concurrency to reserve for stages, out of the concurrency that all functions of the account
   * share in the region. With it, no flood of devices, of uploads or of another function's events
   * keeps the timestamp from being renewed. New accounts have little concurrency, and may not be
   * able to reserve any (`docs/deploy-more.md`).
   *
   * @default none: all functions share the account's concurrency
   */
  readonly reservedConcurrency?: ReservedConcurrency;

  /**
   * How many requests the devices' API answers. Requests above that get a 429. Most clients then
   * fail, and ask again at their next regular check.
   *
   * @default the account's quota, which all its APIs in the region share
   */
  readonly throttle?: Throttle;

  /**
   * Whether devices may ask for packs. A pack is one answer with all the files that a device would
   * request next; the device verifies each file as if it had fetched it by name
   * (`docs/devices.md`).
   *
   * @default see {@link Packs}: they may, which costs nothing until one asks
   */
  readonly packs?: Packs;

  /**
   * Whether targets of 64 KiB to 1 GiB are cut into chunks after their publication, so that a
   * device with an older target fetches only what it lacks (`docs/chunks.md`). This adds a queue,
   * a function and their alarms. `tufline chunk` cuts targets that were published before.
   *
   * @default false
   */
  readonly chunks?: boolean;

  /**
   * Puts CloudFront in front of the repository, in place of the API, so that many devices get the
   * same answer from a nearby cache. `{}` is enough. It works only under access `open` or `mtls`:
   * under the others, each answer is for the device that was let in.
   *
   * CloudFront reaches the functions by function URLs, which some regions lack
   * (<https://docs.aws.amazon.com/lambda/latest/dg/lambda-urls.html>). It serves no file of more than 50 GB
   * (<https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/cloudfront-limits.html>).
   *
   * @default none: devices use the API
   */
  readonly cloudFront?: CloudFront;

  /**
   * The topic to notify when an alarm begins and when it ends. If the topic is encrypted with its
   * own key, CloudWatch must be allowed to use that key.
   *
   * @default no notification: alarms show only in CloudWatch
   */
  readonly alarmTopic?: ITopic;

  /**
   * The symmetric KMS key that the buckets use to encrypt objects (SSE-KMS, with bucket keys). Its
   * policy must delegate its use to the account's IAM policies, as CDK's keys do. Existing objects
   * stay as they are.
   *
   * @default S3's own encryption (SSE-S3), which costs nothing
   */
  readonly encryptionKey?: IKey;

  /**
   * An existing bucket to take uploads from, below the prefix `targets/`: one of the same stack, or
   * an imported one with its KMS key, if it has any. **Its versioning must be on**, which the
   * synthesis can't check. A custom resource of CDK adds the notification beside the bucket's
   * others.
   *
   * @default a new bucket, which stays when the stack is deleted
   */
  readonly uploadsBucket?: IBucket;

  /**
   * How long things are kept.
   *
   * @default see {@link Retention}
   */
  readonly retention?: Retention;

  /**
   * Omits what the local AWS emulator can't evaluate: see `emulator.ts`. Never set it on AWS.
   *
   * @default false
   */
  readonly emulator?: boolean;
}

/**
 * How many concurrent runs to reserve for a stage; this is also the most that it may have: 1 to
 * 1000. Sign and publish never run twice at once, since each queue has one message group. A run of
 * refresh may last into the next minute, so give it 2.
 *
 * <https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html>
 */
export interface ReservedConcurrency {
  /**
   * For `sign`.
   *
   * @default nothing is reserved
   */
  readonly sign?: number;

  /**
   * For `publish`.
   *
   * @default nothing is reserved
   */
  readonly publish?: number;

  /**
   * For `refresh`.
   *
   * @default nothing is reserved
   */
  readonly refresh?: number;

  /**
   * For `pack`. Packs take more of a processor than files do; with a limit they leave the other
   * functions their share. A device that gets no pack asks for the files.
   *
   * @default nothing is reserved
   */
  readonly pack?: number;
}

/**
 * A token bucket for all devices together, which API Gateway applies on a best-effort basis
 * (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-throttling.html>). A
 * device's check takes two requests, a first update six.
 */
export interface Throttle {
  /** Requests a second, in the long run. */
  readonly rate: number;

  /** The burst of requests beyond that: at least {@link rate}. */
  readonly burst: number;
}

/** Whether and how often devices may ask for packs. */
export interface Packs {
  /**
   * Whether the route `/pack` exists. Without it devices ask for the files, as they do if a pack is
   * refused.
   *
   * @default true
   */
  readonly enabled?: boolean;

  /**
   * How many packs the API answers, independent of the limit on other requests.
   *
   * @default {@link TuflineRepositoryProps.throttle}
   */
  readonly throttle?: Throttle;
}

/**
 * The settings of CloudFront. It has no throttle, so it can't be combined with
 * {@link TuflineRepositoryProps.throttle} or {@link Packs.throttle}.
 */
export interface CloudFront {
  /**
   * The domain in the devices' URLs, with its certificate in ACM **in us-east-1**; point a DNS
   * record at `TuflineRepository.distribution`. Under access `mtls` the domain is that of
   * {@link MtlsAccess}.
   *
   * @default a domain below cloudfront.net
   */
  readonly domain?: { readonly name: string; readonly certificate: ICertificate };

  /**
   * The ARN of a web ACL of AWS WAF with the scope CLOUDFRONT. A rate-based rule in it limits the
   * requests of one address.
   *
   * @default none
   */
  readonly webAclArn?: string;

  /**
   * The bucket to which CloudFront writes a line for each request. It must allow ACLs
   * (<https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/standard-logging-legacy-s3.html>).
   *
   * @default requests are not logged
   */
  readonly logBucket?: IBucket;
}

/**
 * How long signed documents are valid. Each lifetime must be at least as long as the one before.
 */
export interface Expiries {
  /**
   * The timestamp's lifetime: the longest time for which an attacker on the wire can hold back an
   * update. The timestamp is signed again when half of it is left. At least an hour, so that an
   * operator can still act after the alarm at a quarter.
   *
   * @default Duration.days(1)
   */
  readonly timestamp?: Duration;

  /**
   * The snapshot's lifetime. It is renewed when a third of it is left.
   *
   * @default Duration.days(7)
   */
  readonly snapshot?: Duration;

  /**
   * The lifetime of `targets` and the bins. They are renewed when a third of it is left.
   *
   * @default Duration.days(90)
   */
  readonly targets?: Duration;
}

/**
 * The numbers of each role's keys, the oldest first: `[1]`; later `[1, 2]`, and then `[2]` when
 * `tufline key rotate` says so. A new number creates a key, which signs once devices trust it. A
 * key whose number is removed stays in KMS and signs no more.
 */
export interface OnlineKeys {
  /**
   * For `targets`.
   *
   * @default [1]
   */
  readonly targets?: number[];

  /**
   * For the bins.
   *
   * @default [1]
   */
  readonly bins?: number[];

  /**
   * For `snapshot`.
   *
   * @default [1]
   */
  readonly snapshot?: number[];

  /**
   * For `timestamp`.
   *
   * @default [1]
   */
  readonly timestamp?: number[];
}

/**
 * When removals wait for an operator's consent: when more than {@link percent} of all targets, and
 * more than {@link atLeast} of them, were removed within ten minutes. So an unmounted folder or a
 * faulty script can't empty the repository.
 */
export interface Removals {
  /**
   * Whole percent of all targets; with 100, no removal waits.
   *
   * @default 50
   */
  readonly percent?: number;

  /**
   * The number of targets that may always be removed.
   *
   * @default 20
   */
  readonly atLeast?: number;
}

/**
 * Large uploads have their own queue and function, so that they don't delay the others. All values
 * are in bytes.
 */
export interface LargeUploads {
  /**
   * Longer uploads are large. At most 1 GiB, since the function for the others times out after a
   * minute.
   *
   * @default 256 MiB
   */
  readonly above?: number;

  /**
   * The size of the pieces in which an upload is read, if it must be read. At most 4 MiB, since a
   * run holds several in memory.
   *
   * @default 4 MiB
   */
  readonly piece?: number;

  /**
   * After this many bytes a run stores its progress and lets the next large upload have its turn.
   *
   * @default 4 GiB
   */
  readonly run?: number;

  /**
   * Longer uploads are copied in parts: from {@link above} to 5 GB, the most that S3 copies in one
   * request.
   *
   * @default 5 GB
   */
  readonly copyAbove?: number;

  /**
   * The size of these parts, 5 MiB to 5 GiB.
   *
   * @default 128 MiB
   */
  readonly copyPart?: number;
}

/**
 * How long things are kept. Signed metadata, blobs and the ledger are kept for good: later versions
 * build on them.
 */
export interface Retention {
  /**
   * The logs of functions and of requests.
   *
   * @default RetentionDays.ONE_MONTH
   */
  readonly logs?: RetentionDays;

  /**
   * After how long uploads, and older versions of them, are deleted from the uploads bucket: whole
   * days, at least 15, since a message about an upload may wait for 14. Targets stay published,
   * since their bytes were copied. With an existing {@link TuflineRepositoryProps.uploadsBucket}
   * this states what the bucket's own lifecycle does, and adds no rule.
   *
   * @default uploads are kept
   */
  readonly uploadsExpireAfter?: Duration;
}
