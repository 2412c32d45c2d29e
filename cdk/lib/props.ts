/** All that can be chosen of a repository. `config.ts`, `access.ts` and `names.ts` check it. */
import { Duration } from "aws-cdk-lib";
import { ICertificate } from "aws-cdk-lib/aws-certificatemanager";
import { IKey } from "aws-cdk-lib/aws-kms";
import { Architecture } from "aws-cdk-lib/aws-lambda";
import { RetentionDays } from "aws-cdk-lib/aws-logs";
import { IBucket } from "aws-cdk-lib/aws-s3";
import { ITopic } from "aws-cdk-lib/aws-sns";

import { Access, MtlsAccess } from "./access.ts";

export interface TuflineRepositoryProps {
  /** Folder with the functions' binaries, `pipeline/bootstrap` and `devices/bootstrap`, built for {@link architecture}: what `cdk/bundle` makes. */
  readonly bundle: string;

  /**
   * Processor that the binaries are built for.
   *
   * @default Architecture.ARM_64, which costs a fifth less than x86_64
   */
  readonly architecture?: Architecture;

  /**
   * What the names of queues, functions, log groups, alarms and the SSM parameter `/tufline/<name>` begin with:
   * letters, digits and hyphens. Unique in its account and region. Changing it later replaces the queues with all that
   * waits in them (`tufline reconcile` brings it back), and no bucket and no key.
   *
   * @default the stack's name
   */
  readonly name?: string;

  /**
   * Who may read as a device. There is no default, so that nobody opens a repository to the world by accident, or locks
   * its devices out.
   */
  readonly access: Access;

  /**
   * How long changes are collected before they become one generation: whole seconds, 1 to 300. Longer makes fewer
   * generations, which is cheaper for devices in a steady stream of uploads; each upload waits up to that long.
   *
   * @default Duration.seconds(1), the shortest that SQS has for large batches
   */
  readonly batchWindow?: Duration;

  /**
   * How long signed documents are valid.
   *
   * @default see {@link Expiries}
   */
  readonly expiries?: Expiries;

  /**
   * How the SHA-256 of an upload is found: `auto` believes the full-object checksum that S3 computed; `stream` always
   * reads the upload, which takes longer and trusts no arithmetic but Tufline's.
   *
   * @default "auto"
   */
  readonly hashing?: "auto" | "stream";

  /**
   * Uploads larger than this are refused, in bytes.
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
   * A targets role that lists more targets than this is split into 16 bins: 1 to 10,000. Smaller ones make what devices
   * download for a change smaller, and the snapshot larger. Bins are never merged again.
   *
   * @default 1000
   */
  readonly maxTargetsPerBin?: number;

  /**
   * How many documents are signed at the same time: 1 to 256. What KMS throttles is tried again.
   *
   * @default 16: some 210 signatures a second, fewer than KMS allows in any region by default
   */
  readonly signaturesAtOnce?: number;

  /**
   * Which keys each online role has.
   *
   * @default see {@link OnlineKeys}
   */
  readonly onlineKeys?: OnlineKeys;

  /**
   * Targets up to this length are answered by the serve function itself, longer ones by a redirect to S3; in bytes,
   * 4 MiB at most, since a Lambda function answers 6 MB of Base64. 0 redirects all that aren't empty.
   *
   * @default 256 KiB: a target of that length is there sooner than a device could follow a redirect
   */
  readonly inlineTargets?: number;

  /**
   * Which uploads are worked on beside all others, and in what pieces.
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
   * Whether people sign the top-level targets role (`tufline targets`), which needs a repository that was begun with bins.
   *
   * @default false
   */
  readonly offlineTargets?: boolean;

  /**
   * The contents of the first root, which devices ship with, as `tufline root show` tells them: no other is believed in its place then. Behind its version
   * and a colon where that is not 1 (`15:CONTENTS`), as for `tufline import` of a repository whose older roots can't be verified.
   *
   * @default version 1 that lies in the bucket, where nobody can replace it
   */
  readonly trustedRoot?: string;

  /**
   * Whether what lies in `metadata/` may be replaced, by compare-and-swap, all but the first root and those before: so that `tufline root publish` takes the place of
   * what somebody stored there in a root's name. Only until that is done.
   *
   * @default false: what is there stays
   */
  readonly replaceRoots?: boolean;

  /**
   * Concurrency that is kept for stages, out of what the account's functions share in the region: so that no flood of devices, of uploads,
   * or of another function's events keeps the timestamp from being renewed. New accounts have little to share, and may reserve none
   * (`docs/deploy.md`).
   *
   * @default none: all functions share what there is
   */
  readonly reservedConcurrency?: ReservedConcurrency;

  /**
   * How many requests the devices' API answers; what is above gets a 429, with which most clients fail and ask again when they would
   * have anyway.
   *
   * @default the account's quota, which all its APIs in the region share
   */
  readonly throttle?: Throttle;

  /**
   * Whether devices may ask for packs: all that they would request next in one answer, verified as if each file had been fetched by its name
   * (`docs/devices.md`).
   *
   * @default see {@link Packs}: they may, which costs nothing until one asks
   */
  readonly packs?: Packs;

  /**
   * Whether targets of 64 KiB to 1 GiB are cut into chunks after their publication, so that a device with an older target
   * fetches only what it lacks (`docs/devices.md`). It takes a queue and a function of its own, and their alarms. Of what was published before `tufline
   * chunk` has them cut.
   *
   * @default false
   */
  readonly chunks?: boolean;

  /**
   * Puts CloudFront in front of the repository, in the place of the API: many devices then get the same answer from a cache near to
   * them. `{}` is enough. Under access `open` or `mtls` only: under the others each answer is for whom was let in.
   *
   * CloudFront keeps no file of more than 50 GB
   * (<https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/cloudfront-limits.html>).
   *
   * @default none: devices ask the API
   */
  readonly cloudFront?: CloudFront;

  /**
   * Is told when an alarm is raised and when it is over. A topic that is encrypted with a key of its own must let
   * CloudWatch use that key.
   *
   * @default nobody is told; the alarms show in CloudWatch only
   */
  readonly alarmTopic?: ITopic;

  /**
   * Symmetric KMS key that the buckets encrypt objects with (SSE-KMS, with bucket keys). Its policy must leave the use
   * of it to the account's IAM policies, as CDK's own keys do. Objects that are there already stay as they are.
   *
   * @default S3's own encryption (SSE-S3), which costs nothing
   */
  readonly encryptionKey?: IKey;

  /**
   * Existing bucket to take uploads from, below the prefix `targets/`: one of the same stack, or an imported one with
   * its KMS key, if it has any. **Its versioning must be on**, which nobody can check at synthesis. CDK adds the
   * notification beside others by a custom resource.
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
   * Leaves out what the local AWS emulator cannot evaluate: see `emulator.ts`. Never set it on AWS.
   *
   * @default false
   */
  readonly emulator?: boolean;
}

/**
 * How many runs of a stage there may be at once, and always may be: 1 to 1000. Sign and publish never run twice at once, since their queues have
 * one message group; a run of refresh may last into the next minute, so give it 2.
 *
 * <https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html>
 */
export interface ReservedConcurrency {
  /**
   * Of `sign`.
   *
   * @default nothing is reserved
   */
  readonly sign?: number;

  /**
   * Of `publish`.
   *
   * @default nothing is reserved
   */
  readonly publish?: number;

  /**
   * Of `refresh`.
   *
   * @default nothing is reserved
   */
  readonly refresh?: number;

  /**
   * Of `pack`: so that packs, which take more of a processor than files do, leave the other functions their share. A device that gets none
   * asks for the files.
   *
   * @default nothing is reserved
   */
  readonly pack?: number;
}

/**
 * A token bucket over all devices, which API Gateway keeps as well as it can
 * (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-throttling.html>). A device's check is two requests, a first
 * update six.
 */
export interface Throttle {
  /** Requests a second, in the long run. */
  readonly rate: number;

  /** Requests at once, beyond that; as many as {@link rate} at least. */
  readonly burst: number;
}

/** What devices may ask for in one answer. */
export interface Packs {
  /**
   * Whether there is the route `/pack`. Without it devices ask for the files, as they do where a pack is refused.
   *
   * @default true
   */
  readonly enabled?: boolean;

  /**
   * How many packs the API answers, whatever {@link TuflineRepositoryProps.throttle} says of the other requests.
   *
   * @default {@link TuflineRepositoryProps.throttle}
   */
  readonly throttle?: Throttle;
}

/**
 * How CloudFront is set up. It has no throttle: neither {@link TuflineRepositoryProps.throttle} nor {@link Packs.throttle} goes with
 * it.
 */
export interface CloudFront {
  /**
   * The domain that devices ask, with its certificate in ACM **in us-east-1**; point a DNS record at
   * `TuflineRepository.distribution`. Under access `mtls` it is that of {@link MtlsAccess}.
   *
   * @default one below cloudfront.net
   */
  readonly domain?: { readonly name: string; readonly certificate: ICertificate };

  /**
   * ARN of a web ACL of AWS WAF, of the scope CLOUDFRONT: with a rate-based rule it keeps one address from asking too much.
   *
   * @default none
   */
  readonly webAclArn?: string;

  /**
   * Where CloudFront writes a line for each request. The bucket must take ACLs
   * (<https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/standard-logging-legacy-s3.html>).
   *
   * @default requests are not logged
   */
  readonly logBucket?: IBucket;
}

/** How long signed documents are valid. Each at least as long as the one before. */
export interface Expiries {
  /**
   * Of the timestamp: at most so long can an attacker on the wire hold back an update. Re-signed when half of it is
   * left; an hour at least, so that whoever is alarmed at a quarter can still do something.
   *
   * @default Duration.days(1)
   */
  readonly timestamp?: Duration;

  /**
   * Of snapshots, renewed when a third of it is left.
   *
   * @default Duration.days(7)
   */
  readonly snapshot?: Duration;

  /**
   * Of `targets` and the bins, renewed when a third of it is left.
   *
   * @default Duration.days(90)
   */
  readonly targets?: Duration;
}

/**
 * The numbers of the keys that a role has, the oldest first: `[1]`, and `[1, 2]` and then `[2]` when `tufline key rotate` says so.
 * A new number makes a key, which signs once devices trust it; a key whose number is taken away stays in KMS, and signs no more.
 */
export interface OnlineKeys {
  /**
   * Of `targets`.
   *
   * @default [1]
   */
  readonly targets?: number[];

  /**
   * Of the bins.
   *
   * @default [1]
   */
  readonly bins?: number[];

  /**
   * Of `snapshot`.
   *
   * @default [1]
   */
  readonly snapshot?: number[];

  /**
   * Of `timestamp`.
   *
   * @default [1]
   */
  readonly timestamp?: number[];
}

/**
 * Removals are held while more than {@link percent} of all targets, and more than {@link atLeast} of them, were removed
 * within ten minutes: an unmounted folder or a script gone wrong must not empty the repository.
 */
export interface Removals {
  /**
   * Whole percent of all targets; 100 holds none.
   *
   * @default 50
   */
  readonly percent?: number;

  /**
   * Number of targets that may always be removed.
   *
   * @default 20
   */
  readonly atLeast?: number;
}

/**
 * Large uploads have a queue and a function of their own, so that none of them keeps the others waiting. All in bytes.
 */
export interface LargeUploads {
  /**
   * Longer uploads are large; 1 GiB at most, since the function for the others is stopped after a minute.
   *
   * @default 256 MiB
   */
  readonly above?: number;

  /**
   * Where an upload must be read, it is in pieces of this size: 4 MiB at most, since several are held in memory.
   *
   * @default 4 MiB
   */
  readonly piece?: number;

  /**
   * After so many bytes the progress is stored, and the next large upload has its turn.
   *
   * @default 4 GiB
   */
  readonly run?: number;

  /**
   * Longer uploads are copied in parts: from {@link above} to 5 GB, the most that S3 copies in one request.
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

/** How long things are kept. Signed metadata, blobs and the ledger are kept for good: versions continue from there. */
export interface Retention {
  /**
   * Logs of the functions and of requests.
   *
   * @default RetentionDays.ONE_MONTH
   */
  readonly logs?: RetentionDays;

  /**
   * After how long uploads are deleted from the uploads bucket, older versions of one too; whole days, 15 at least,
   * since a message about an upload may wait for 14. Targets stay published: their bytes were copied. With an existing
   * {@link TuflineRepositoryProps.uploadsBucket} this states what its own lifecycle does, and adds no rule.
   *
   * @default uploads are kept
   */
  readonly uploadsExpireAfter?: Duration;
}
