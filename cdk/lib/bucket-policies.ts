/** What the buckets refuse to everyone, whatever an identity's own policy allows. */
import { AnyPrincipal, Effect, PolicyStatement } from "aws-cdk-lib/aws-iam";
import { IBucket } from "aws-cdk-lib/aws-s3";

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
export function onlyOverTls(bucket: IBucket): PolicyStatement {
  return deny("OnlyOverTls", ["s3:*"], [bucket.bucketArn, bucket.arnForObjects("*")], {
    Bool: { "aws:SecureTransport": "false" },
  });
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
