/**
 * What buckets and queues refuse to everyone, whatever an identity's own policy allows; and what
 * CloudFront may read, since it has no identity policy.
 *
 * These policies don't say that only operators write roots: they don't know who the operators are,
 * and a bucket that refused everyone except listed principals would lock out operators who are
 * added later. The identities' policies say it instead: no function's policy allows it
 * (`permissions.ts`), the operators' does (`grants.ts`).
 */
import { Aws } from "aws-cdk-lib";
import { AnyPrincipal, Effect, PolicyStatement, ServicePrincipal } from "aws-cdk-lib/aws-iam";
import { IBucket } from "aws-cdk-lib/aws-s3";
import { IQueue } from "aws-cdk-lib/aws-sqs";

const NOT_TLS = { Bool: { "aws:SecureTransport": "false" } };

function deny(
  sid: string,
  actions: string[],
  resources: string[],
  conditions: Record<string, Record<string, string>> = {},
): PolicyStatement {
  const principals = [new AnyPrincipal()];
  return new PolicyStatement({ sid, effect: Effect.DENY, principals, actions, resources, conditions });
}

/** Refuses requests to the bucket without TLS. */
export function bucketOnlyOverTls(bucket: IBucket): PolicyStatement {
  return deny("OnlyOverTls", ["s3:*"], [bucket.bucketArn, bucket.arnForObjects("*")], NOT_TLS);
}

/** Refuses requests to the queue without TLS. */
export function queueOnlyOverTls(queue: IQueue): PolicyStatement {
  return deny("OnlyOverTls", ["sqs:*"], [queue.queueArn], NOT_TLS);
}

/**
 * Refuses deletions of objects and of their versions, to everyone. An administrator who must delete
 * something changes the bucket's policy first.
 *
 * The bucket's own lifecycle rules still apply: a bucket policy doesn't restrict them
 * (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-policies.html>).
 */
export function keepForever(bucket: IBucket): PolicyStatement {
  return deny("KeepForever", ["s3:DeleteObject", "s3:DeleteObjectVersion"], [bucket.arnForObjects("*")]);
}

/**
 * Conditions for a write without `If-None-Match`, and for one without `If-None-Match` and
 * `If-Match`. Every way to make an object needs `s3:PutObject`: PutObject, a copy, a form. S3
 * accepts only `*` as the value of `If-None-Match`
 * (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes-enforce.html>; for
 * copies
 * <https://www.amazonaws.cn/en/new/2025/amazon-s3-adds-conditional-write-functionality-to-copy-operations>).
 */
const MAY_OVERWRITE = { Null: { "s3:if-none-match": "true" } };
const IS_BLIND = { Null: { "s3:if-none-match": "true", "s3:if-match": "true" } };

/**
 * The condition for a request that makes an object. The start of a multipart upload and its parts
 * take no conditional headers; its completion, which makes the object, does
 * (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>). Without
 * this condition, nobody could start a multipart upload.
 */
const MAKES_AN_OBJECT = { Bool: { "s3:ObjectCreationOperation": "true" } };

/**
 * Allows creating objects under these keys with `If-None-Match: *` only, so nothing is ever
 * overwritten.
 */
export function writeOnce(bucket: IBucket, keys: readonly string[]): PolicyStatement {
  return deny("WriteOnce", ["s3:PutObject"], arns(bucket, keys), MAY_OVERWRITE);
}

/** As {@link writeOnce}, for objects that may be made by multipart uploads. */
export function writeOnceInParts(bucket: IBucket, keys: readonly string[]): PolicyStatement {
  return deny("WriteOnceInParts", ["s3:PutObject"], arns(bucket, keys), { ...MAY_OVERWRITE, ...MAKES_AN_OBJECT });
}

/**
 * Allows writing objects under these keys with `If-None-Match` or `If-Match` only: no write is
 * blind.
 */
export function writeConditionally(bucket: IBucket, keys: readonly string[]): PolicyStatement {
  return deny("WriteConditionally", ["s3:PutObject"], arns(bucket, keys), IS_BLIND);
}

const CLOUDFRONT = new ServicePrincipal("cloudfront.amazonaws.com");

/**
 * What one distribution may read for its viewers: versioned metadata and blobs
 * (<https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/private-content-restricting-access-to-s3.html>).
 * Roots come from serve, which recognizes invalid ones.
 *
 * The distribution may list the bucket, since S3 otherwise answers 403 for a missing object. No
 * viewer can request a list: S3 lists at the bucket's root path, and CloudFront comes here only for
 * paths below `/metadata/` and `/targets/`, without a query.
 */
export function readByCloudFront(bucket: IBucket, distribution: string): PolicyStatement[] {
  const allow = (sid: string, action: string, resources: string[]) => {
    const conditions = { StringEquals: { "aws:SourceArn": distribution } };
    return new PolicyStatement({ sid, principals: [CLOUDFRONT], actions: [action], resources, conditions });
  };
  return [
    allow("ReadByCloudFront", "s3:GetObject", arns(bucket, ["metadata/*.*.json", "blobs/*", "chunks/*"])),
    allow("MissingForCloudFront", "s3:ListBucket", [bucket.bucketArn]),
    new PolicyStatement({
      sid: "RootsByServeOnly",
      effect: Effect.DENY,
      principals: [CLOUDFRONT],
      actions: ["s3:GetObject"],
      resources: arns(bucket, ["metadata/*.root.json"]),
    }),
  ];
}

/**
 * The right to use a bucket's key, for the key's own policy. It is for any distribution of the
 * account: naming one would need the distribution, which needs the bucket, which needs the key. The
 * bucket's policy says what each distribution may read.
 */
export function decryptForCloudFront(): PolicyStatement {
  return new PolicyStatement({
    sid: "DecryptForCloudFront",
    principals: [CLOUDFRONT],
    actions: ["kms:Decrypt"],
    // In a key's policy, `*` means the key itself.
    resources: ["*"],
    conditions: { ArnLike: { "aws:SourceArn": `arn:${Aws.PARTITION}:cloudfront::${Aws.ACCOUNT_ID}:distribution/*` } },
  });
}

function arns(bucket: IBucket, keys: readonly string[]): string[] {
  return keys.map((key) => bucket.arnForObjects(key));
}
