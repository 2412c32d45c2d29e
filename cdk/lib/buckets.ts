/**
 * The three buckets. They are versioned and private, and stay when the stack is deleted. Only if
 * the deployment that creates them fails are they deleted: they are empty then, and would block the
 * next deployment
 * (<https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-attribute-deletionpolicy.html>).
 */
import { Duration, RemovalPolicy, Validations } from "aws-cdk-lib";
import { PolicyStatement } from "aws-cdk-lib/aws-iam";
import { IKey } from "aws-cdk-lib/aws-kms";
import { BlockPublicAccess, Bucket, BucketEncryption, ObjectOwnership } from "aws-cdk-lib/aws-s3";
import { Construct } from "constructs";

import { keptStatements } from "./emulator.ts";
import { bucketOnlyOverTls, keepForever, writeConditionally, writeOnce, writeOnceInParts } from "./resource-policies.ts";

/** The options of all buckets of a repository. */
export interface BucketOptions {
  readonly encryptionKey: IKey | undefined;
  readonly emulator: boolean;
}

function bucket(
  scope: Construct,
  id: string,
  { encryptionKey, emulator }: BucketOptions,
  policy: (bucket: Bucket) => PolicyStatement[],
): Bucket {
  const bucket = new Bucket(scope, id, {
    versioned: true,
    blockPublicAccess: BlockPublicAccess.BLOCK_ALL,
    objectOwnership: ObjectOwnership.BUCKET_OWNER_ENFORCED,
    removalPolicy: RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
    lifecycleRules: [{ id: "abandoned-multipart-uploads", abortIncompleteMultipartUploadAfter: Duration.days(7) }],
    ...(encryptionKey && { encryption: BucketEncryption.KMS, encryptionKey, bucketKeyEnabled: true }),
  });
  for (const statement of keptStatements([bucketOnlyOverTls(bucket), ...policy(bucket)], emulator)) {
    bucket.addToResourcePolicy(statement);
  }
  Validations.of(bucket).acknowledge({
    id: "AwsSolutions-S1",
    reason:
      "Devices read through the API, which has an access log; who needs more records S3 data events in CloudTrail",
  });
  return bucket;
}

/**
 * The bucket into which build systems put artifacts. Objects below `prefix` are deleted after
 * `expireDays`, if given.
 */
export function uploadsBucket(
  scope: Construct,
  options: BucketOptions,
  prefix: string,
  expireDays: number | undefined,
): Bucket {
  const uploads = bucket(scope, "Uploads", options, () => []);
  if (expireDays !== undefined) {
    const after = Duration.days(expireDays);
    uploads.addLifecycleRule({ id: "uploads", prefix, expiration: after, noncurrentVersionExpiration: after });
    uploads.addLifecycleRule({ id: "uploads-delete-markers", prefix, expiredObjectDeleteMarker: true });
  }
  return uploads;
}

/**
 * The keys of objects that are created once and never replaced: all except pointers
 * (`Key::is_pointer` in `shared/store/src/key.rs`; a test compares the two). This includes
 * receipts: a receipt with another digest would give other bytes to an upload that nobody changed.
 */
const WRITTEN_ONCE = {
  // All of `metadata/` except `timestamp.json`: a name with a version has two dots.
  metadata: ["metadata/*.*.json"],
  blobs: ["blobs/*"],
  chunks: ["chunks/*"],
  ledger: [
    "decisions/*",
    "delivered/*",
    "drafts/*",
    "generations/*",
    "hashed/*",
    "held/*",
    "index/*",
    "parties/*",
    "rejected/*",
  ],
};

/**
 * The roots up to this version, by their keys: `?` is any character
 * (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html>).
 */
function rootsUpTo(version: number): string[] {
  const digits = String(version);
  const shorter = [...digits.slice(1)].map((_, index) => "?".repeat(index + 1));
  const below = [...digits].flatMap((digit, index) =>
    [..."0123456789"]
      .filter((other) => other < digit && (index > 0 || other !== "0"))
      .map((other) => digits.slice(0, index) + other + "?".repeat(digits.length - index - 1)),
  );
  return [...shorter, ...below, digits].map((versions) => `metadata/${versions}.root.json`);
}

/**
 * The keys, or prefixes of keys, of objects that are replaced again and again (`Key::is_pointer`).
 * With a generation every half hour, the timestamp alone would leave some 18,000 versions a year.
 */
const POINTERS = {
  repository: ["metadata/timestamp.json"],
  ledger: ["announced.json", "hashing/", "refused/", "removals-accepted.json", "root-intent.json"],
};

/**
 * How many old versions of a pointer stay, whatever their age, for a restore; and after how many
 * days others expire.
 */
const [OLDER_POINTERS, POINTER_DAYS] = [10, 30];

/**
 * Lets old versions of pointers expire, and nothing else. Current versions never expire, and
 * objects that are created once have no old versions
 * (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/intro-lifecycle-rules.html>).
 */
function expireOldPointers(bucket: Bucket, keys: readonly string[]): void {
  for (const prefix of keys) {
    bucket.addLifecycleRule({
      id: `old-${prefix.replace(/[^a-z]+/g, "-").replace(/-$/, "")}`,
      prefix,
      noncurrentVersionExpiration: Duration.days(POINTER_DAYS),
      noncurrentVersionsToRetain: OLDER_POINTERS,
    });
  }
}

/** The bucket that devices read: metadata, blobs, and chunks of blobs. */
export function repositoryBucket(scope: Construct, options: BucketOptions, firstRoot: number, replaceRoots = false): Bucket {
  const repository = bucket(scope, "Repository", options, (bucket) => [
    keepForever(bucket),
    writeOnce(bucket, [...(replaceRoots ? rootsUpTo(firstRoot) : WRITTEN_ONCE.metadata), ...WRITTEN_ONCE.chunks]),
    writeOnceInParts(bucket, WRITTEN_ONCE.blobs),
    writeConditionally(bucket, ["metadata/*"]),
  ]);
  // Copies that hash, sign and publish make to learn a checksum. A later attempt makes them again.
  for (const id of ["incoming", "checked"]) {
    const prefix = `${id}/`;
    const [expiration, noncurrentVersionExpiration] = [Duration.days(2), Duration.days(1)];
    repository.addLifecycleRule({ id, prefix, expiration, noncurrentVersionExpiration });
    repository.addLifecycleRule({ id: `${id}-delete-markers`, prefix, expiredObjectDeleteMarker: true });
  }
  expireOldPointers(repository, POINTERS.repository);
  return repository;
}

/**
 * The ledger, which the stages share: drafts, the index, manifests, receipts, and operators'
 * decisions.
 */
export function ledgerBucket(scope: Construct, options: BucketOptions): Bucket {
  const ledger = bucket(scope, "Ledger", options, (bucket) => [
    keepForever(bucket),
    writeOnce(bucket, WRITTEN_ONCE.ledger),
    writeConditionally(bucket, ["*"]),
  ]);
  expireOldPointers(ledger, POINTERS.ledger);
  return ledger;
}
