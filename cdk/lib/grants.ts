/** The rights of people and machines outside the pipeline, as statements for their own policies. */
import { Aws, Stack, Token, TokenComparison } from "aws-cdk-lib";
import { IGrantable, PolicyStatement } from "aws-cdk-lib/aws-iam";
import { IKey } from "aws-cdk-lib/aws-kms";
import { IStringParameter } from "aws-cdk-lib/aws-ssm";
import { Construct } from "constructs";

import { CHUNK } from "./chunk.ts";
import { allow, decrypt, encrypt, list, OnlineKey, read, readUploads, Resources, send, STAGES, write } from "./permissions.ts";
import { refuse } from "./refusal.ts";

/** Lets `tufline --stack NAME` find the repository. */
function findRepository(variables: IStringParameter): PolicyStatement {
  return allow(["ssm:GetParameter"], variables.parameterArn);
}

/** What a build system may upload. */
export interface UploadOptions {
  /**
   * Allows only targets whose names begin with this, for example `gateway/`. End it with `/`:
   * otherwise it would include `gateway2/…` too.
   *
   * @default - all
   */
  readonly prefix?: string;
}

/**
 * A build system's rights: to upload artifacts, to remove them, and to read why one was refused. It
 * may use nothing of the pipeline. With a prefix it may touch no name that doesn't begin with it,
 * and no older version of such a name.
 *
 * The reason for a refusal is stored under the hash of the upload's name, which no longer shows a
 * prefix. So every uploader may read any refusal whose upload and version it knows. It can't learn
 * these by listing.
 */
export function uploading(
  resources: Pick<Resources, "uploads" | "uploadsPrefix" | "ledger">,
  variables: IStringParameter,
  { prefix }: UploadOptions = {},
): PolicyStatement[] {
  const { uploads, uploadsPrefix, ledger } = resources;
  const wanted = "the beginning of names, up to a '/': 'gateway/'";
  const below = prefix === undefined ? "" : checked("grantUpload's prefix", prefix, PREFIX, wanted);
  const names = `${uploadsPrefix}${below}*`;
  const listing = allow(["s3:ListBucket", "s3:ListBucketVersions"], uploads.bucketArn);
  // <https://docs.aws.amazon.com/AmazonS3/latest/userguide/amazon-s3-policy-keys.html>. For a
  // missing object S3 then answers 403 instead of 404; `tufline wait` handles that.
  if (prefix !== undefined) listing.addCondition("StringLike", { "s3:prefix": names });
  return [
    allow(
      [
        "s3:GetObject",
        "s3:GetObjectVersion",
        "s3:PutObject",
        "s3:AbortMultipartUpload",
        "s3:ListMultipartUploadParts",
        "s3:DeleteObject",
      ],
      uploads.arnForObjects(names),
    ),
    listing,
    read(ledger, "rejected/*"),
    ...decrypt(uploads, ledger),
    ...encrypt(uploads),
    findRepository(variables),
  ];
}

/**
 * Segments of a target's name, each with a `/` after it, by the rules of
 * `shared/tuf/src/primitives/name.rs`. None of these characters has a special meaning in a policy,
 * as `*`, `?` and `${` do
 * (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html>).
 */
const PREFIX = /^([A-Za-z0-9_][A-Za-z0-9._~+@=,-]*\/)+$/;

/** The name of a role, by the rules of `shared/tuf/src/primitives/name.rs`. */
const ROLE = /^[a-z0-9][a-z0-9_-]{0,63}$/;

/** A path pattern, by the rules of `shared/tuf/src/primitives/pattern.rs`. */
const PATTERN = /^[A-Za-z0-9_][A-Za-z0-9._~+@=,*?-]*(\/[A-Za-z0-9_*?][A-Za-z0-9._~+@=,*?-]*)*$/;

/** Returns `value`, a part of a key in a policy, if it follows `rule`. Refuses it otherwise. */
function checked(what: string, value: string, rule: RegExp, instead: string): string {
  if (Token.isUnresolved(value)) refuse(what, "a token", "its value can't be checked before the deployment", "write it out");
  if (!rule.test(value) || value.includes("**")) {
    const shown = JSON.stringify(value).slice(1, -1);
    refuse(what, `'${shown}'`, "a policy with it would match nothing, or more than intended", `give ${instead}`);
  }
  return value;
}

/**
 * Another party's rights: to upload the document that it signed, and the files that it lists, under
 * `paths` of the uploads (such as `vendor-x/*`). Only its keys decide what it may publish.
 */
export function delivering(resources: Resources, role: string, paths: string[], variables: IStringParameter): PolicyStatement[] {
  const { uploads, uploadsPrefix } = resources;
  const keys = [
    `delegations/${checked("grantDelivery's role", role, ROLE, "the name of a role: 'vendor-x'")}.json`,
    // In a policy `*` and `?` match `/` too, so these keys match exactly the names that the
    // patterns reserve for the party.
    ...paths.map((path) => {
      return `${uploadsPrefix}${checked("grantDelivery's path", path, PATTERN, "a pattern as it was delegated: 'vendor-x/*'")}`;
    }),
  ];
  return [
    allow(
      ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"],
      ...keys.map((key) => uploads.arnForObjects(key)),
    ),
    ...decrypt(uploads),
    ...encrypt(uploads),
    findRepository(variables),
  ];
}

/**
 * An operator's rights: to read everything and the deployment's settings (`tufline doctor`); to
 * make the first generation, roots and delegations; to accept removals; and to have any upload
 * checked again. Only operators may write a root, `root-intent.json` and `removals-accepted.json`.
 * An operator can't sign with an online key and publishes nothing.
 */
export function operating(
  name: string,
  resources: Resources,
  keys: Record<OnlineKey, IKey[]>,
  variables: IStringParameter,
): PolicyStatement[] {
  const { uploads, repository, ledger, queues, deadLetters, chunks } = resources;
  const arns = (queues: Resources["queues"]) => Object.values(queues).map((queue) => queue.queueArn);
  return [
    ...readUploads(resources),
    read(repository, "*"),
    read(ledger, "*"),
    list(repository, ledger),
    write(repository, "metadata/*.root.json", "metadata/*.targets.json"),
    write(ledger, "root-intent.json", "removals-accepted.json"),
    // For `tufline init` and `tufline delegation`. The bucket's policy prevents replacing existing
    // objects.
    write(ledger, "generations/*", "index/*", "drafts/*", "parties/*"),
    // Operators' decisions about delegations; nobody else may write there.
    write(ledger, "decisions/*"),
    ...decrypt(uploads, repository, ledger),
    ...encrypt(repository, ledger),
    allow(
      ["kms:GetPublicKey", "kms:DescribeKey", "kms:GetKeyPolicy", "kms:ListGrants"],
      ...Object.values(keys).flatMap((all) => all.map((key) => key.keyArn)),
    ),
    ...lookingAtDeployment(name, resources),
    send(queues.uploads, queues.changes, queues.sign, ...(chunks ? [chunks.queue] : [])),
    allow(["sqs:GetQueueAttributes"], ...arns(queues), ...(chunks ? [chunks.queue.queueArn] : [])),
    // To look at dead letters, and to delete one that nothing can read.
    allow(["sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:DeleteMessage"], ...arns(deadLetters), ...(chunks ? [chunks.deadLetters.queueArn] : [])),
    findRepository(variables),
  ];
}

/**
 * The read-only rights that `tufline doctor` needs in addition. AWS can't restrict the last four to
 * a resource, or only to one without a predictable name
 * (<https://docs.aws.amazon.com/service-authorization/latest/reference/list_lambda.html>,
 * <https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoneventbridgescheduler.html>).
 * They show the names and settings of other resources in the account.
 */
function lookingAtDeployment(name: string, { uploads, repository, ledger, chunks }: Resources): PolicyStatement[] {
  const functions = `arn:${Aws.PARTITION}:lambda:${Aws.REGION}:${Aws.ACCOUNT_ID}:function`;
  return [
    allow(
      ["s3:GetBucketVersioning", "s3:GetBucketPublicAccessBlock"],
      ...[uploads, repository, ledger].map((bucket) => bucket.bucketArn),
    ),
    allow(
      ["lambda:GetFunction", "lambda:GetFunctionRecursionConfig"],
      ...[...STAGES, ...(chunks ? [CHUNK] : [])].map((stage) => `${functions}:${name}-${stage}`),
    ),
    allow(
      [
        "lambda:GetAccountSettings",
        "lambda:ListEventSourceMappings",
        "scheduler:ListSchedules",
        "cloudwatch:DescribeAlarms",
      ],
      "*",
    ),
  ];
}

/**
 * Adds the statements to the own policy of the grantee, which must be of this account: CDK would
 * silently leave out the policy of a role elsewhere, and the buckets allow nobody elsewhere.
 */
export function grant(scope: Construct, what: string, grantee: IGrantable, statements: PolicyStatement[]): void {
  const { account } = Stack.of(scope);
  const other = grantee.grantPrincipal.principalAccount ?? account;
  if (Token.compareStrings(other, account) === TokenComparison.DIFFERENT) {
    refuse(`${what}'s grantee`, `of account ${other}`, "its policy belongs to that account", "grant to a role of this account that the other may assume");
  }
  for (const statement of statements) {
    if (!grantee.grantPrincipal.addToPrincipalPolicy(statement).statementAdded) {
      refuse(`${what}'s grantee`, grantee.grantPrincipal, "it can't hold a policy", "grant to a role, user or group");
    }
  }
}
