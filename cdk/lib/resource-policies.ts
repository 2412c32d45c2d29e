/**
 * What buckets and queues refuse to everyone, whatever an identity's own policy allows.
 *
 * That only an operator writes roots is not among it: who the operators are isn't known here, and a bucket that refused
 * all but listed principals would lock out those who are added later. So it is left to identities: no function's policy
 * allows it (`permissions.ts`), the operators' does (`grants.ts`).
 */
import { AnyPrincipal, Effect, PolicyStatement } from "aws-cdk-lib/aws-iam";
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

/** Nobody deletes objects under these keys, nor a version of one. Who must do so changes the bucket's policy first. */
export function keepForever(bucket: IBucket, ...keys: string[]): PolicyStatement {
  return deny(
    "KeepForever",
    ["s3:DeleteObject", "s3:DeleteObjectVersion"],
    keys.map((key) => bucket.arnForObjects(key)),
  );
}

/** The parts of a multipart upload take no conditions; its completion, which makes the object, does. */
const MAKES_AN_OBJECT = { Bool: { "s3:ObjectCreationOperation": "true" } };

/** Objects under these keys are created with `If-None-Match: *` only, so none is ever overwritten. */
export function writeOnce(bucket: IBucket, ...keys: string[]): PolicyStatement {
  return deny(
    "WriteOnce",
    ["s3:PutObject"],
    keys.map((key) => bucket.arnForObjects(key)),
    { Null: { "s3:if-none-match": "true" }, ...MAKES_AN_OBJECT },
  );
}

/** Objects under these keys are written with `If-None-Match` or `If-Match` only: no write is blind. */
export function writeConditionally(bucket: IBucket, ...keys: string[]): PolicyStatement {
  return deny(
    "WriteConditionally",
    ["s3:PutObject"],
    keys.map((key) => bucket.arnForObjects(key)),
    { Null: { "s3:if-none-match": "true", "s3:if-match": "true" }, ...MAKES_AN_OBJECT },
  );
}
