/**
 * What buckets and queues refuse to everyone, whatever an identity's own policy allows; and what CloudFront may read, which has no
 * identity's policy.
 *
 * That only an operator writes roots is not among it: who the operators are isn't known here, and a bucket that refused
 * all but listed principals would lock out those who are added later. So it is left to identities: no function's policy
 * allows it (`permissions.ts`), the operators' does (`grants.ts`).
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

/** Every request comes over TLS. */
export function bucketOnlyOverTls(bucket: IBucket): PolicyStatement {
  return deny("OnlyOverTls", ["s3:*"], [bucket.bucketArn, bucket.arnForObjects("*")], NOT_TLS);
}

/** Every request comes over TLS. */
export function queueOnlyOverTls(queue: IQueue): PolicyStatement {
  return deny("OnlyOverTls", ["sqs:*"], [queue.queueArn], NOT_TLS);
}

/**
 * Nobody deletes an object of the bucket, nor a version of one. Who must do so changes the bucket's policy first.
 *
 * The bucket's own lifecycle rules go on: no bucket policy keeps them from deleting
 * (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-policies.html>).
 */
export function keepForever(bucket: IBucket): PolicyStatement {
  return deny("KeepForever", ["s3:DeleteObject", "s3:DeleteObjectVersion"], [bucket.arnForObjects("*")]);
}

/**
 * A write without `If-None-Match`, or without that and `If-Match`. Whatever makes an object needs `s3:PutObject`: PutObject, a
 * copy, a form. S3 takes no other value than `*` for `If-None-Match`
 * (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes-enforce.html>; for copies
 * <https://www.amazonaws.cn/en/new/2025/amazon-s3-adds-conditional-write-functionality-to-copy-operations>).
 */
const MAY_OVERWRITE = { Null: { "s3:if-none-match": "true" } };
const IS_BLIND = { Null: { "s3:if-none-match": "true", "s3:if-match": "true" } };

/**
 * The beginning of a multipart upload and its parts take no conditions; its completion, which makes the object, does
 * (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>). Where this isn't asked for, nobody can
 * begin one.
 */
const MAKES_AN_OBJECT = { Bool: { "s3:ObjectCreationOperation": "true" } };

/** Objects under these keys are created with `If-None-Match: *` only, so none is ever overwritten. */
export function writeOnce(bucket: IBucket, keys: readonly string[]): PolicyStatement {
  return deny("WriteOnce", ["s3:PutObject"], arns(bucket, keys), MAY_OVERWRITE);
}

/** The same, for what may be put together from parts. */
export function writeOnceInParts(bucket: IBucket, keys: readonly string[]): PolicyStatement {
  return deny("WriteOnceInParts", ["s3:PutObject"], arns(bucket, keys), { ...MAY_OVERWRITE, ...MAKES_AN_OBJECT });
}

/** Objects under these keys are written with `If-None-Match` or `If-Match` only: no write is blind. */
export function writeConditionally(bucket: IBucket, keys: readonly string[]): PolicyStatement {
  return deny("WriteConditionally", ["s3:PutObject"], arns(bucket, keys), IS_BLIND);
}

const CLOUDFRONT = new ServicePrincipal("cloudfront.amazonaws.com");

/**
 * What one distribution reads for whoever asks it: versioned metadata, blobs and their chunks
 * (<https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/private-content-restricting-access-to-s3.html>). Roots are told
 * by serve, which knows those that are none.
 *
 * It may list, since S3 says 403 else of what isn't there. Nobody can have it do so: a list is the answer to the bucket's own path, and
 * CloudFront comes here for paths below `/metadata/`, `/targets/` and `/chunks/` only, and without any query.
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
 * The use of a bucket's key, for a key's own policy. For any distribution of the account: one by its name would need the bucket, which
 * needs the key. What each may read is said by the bucket.
 */
export function decryptForCloudFront(): PolicyStatement {
  return new PolicyStatement({
    sid: "DecryptForCloudFront",
    principals: [CLOUDFRONT],
    actions: ["kms:Decrypt"],
    // In a key's policy this is the key itself.
    resources: ["*"],
    conditions: { ArnLike: { "aws:SourceArn": `arn:${Aws.PARTITION}:cloudfront::${Aws.ACCOUNT_ID}:distribution/*` } },
  });
}

function arns(bucket: IBucket, keys: readonly string[]): string[] {
  return keys.map((key) => bucket.arnForObjects(key));
}
