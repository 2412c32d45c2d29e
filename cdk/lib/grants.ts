/** What people and machines outside the pipeline may do, as statements for their own policies. */
import { Aws, Token } from "aws-cdk-lib";
import { IGrantable, PolicyStatement } from "aws-cdk-lib/aws-iam";
import { IKey } from "aws-cdk-lib/aws-kms";
import { IStringParameter } from "aws-cdk-lib/aws-ssm";

import { allow, decrypt, encrypt, list, OnlineKey, read, readUploads, Resources, send, STAGES, write } from "./permissions.ts";
import { refuse } from "./refusal.ts";

/** `tufline --stack NAME` finds a repository by this. */
function findRepository(variables: IStringParameter): PolicyStatement {
  return allow(["ssm:GetParameter"], variables.parameterArn);
}

/** What a build system may upload. */
export interface UploadOptions {
  /**
   * Only targets whose names begin so: `gateway/`. With the `/` at its end, or `gateway2/…` would be meant too.
   *
   * @default - all
   */
  readonly prefix?: string;
}

/**
 * For a build system: dropping artifacts, removing them, and reading why one was refused. Nothing of the pipeline, and with a
 * prefix nothing of any name that doesn't begin with it, older versions neither.
 *
 * Why an upload was refused is kept under the hash of its name, of which no prefix is left. So whoever uploads may read of any
 * refusal whose upload and version it knows, and learns neither by listing.
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
  // <https://docs.aws.amazon.com/AmazonS3/latest/userguide/amazon-s3-policy-keys.html>. What isn't there is then 403 rather than
  // 404, which `tufline wait` knows.
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
 * Segments of a target's name, as `shared/tuf/src/primitives/name.rs` has them, and a `/` after each. Nothing in it is more to a policy than
 * itself, as `*`, `?` and `${` would be
 * (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html>).
 */
const PREFIX = /^([A-Za-z0-9_][A-Za-z0-9._~+@=,-]*\/)+$/;

/** As `shared/tuf/src/primitives/name.rs` has the name of a role. */
const ROLE = /^[a-z0-9][a-z0-9_-]{0,63}$/;

/** As `shared/tuf/src/primitives/pattern.rs` reads a pattern. */
const PATTERN = /^[A-Za-z0-9_][A-Za-z0-9._~+@=,*?-]*(\/[A-Za-z0-9_*?][A-Za-z0-9._~+@=,*?-]*)*$/;

/** A part of a key in a policy, where it is what it must be. */
function checked(what: string, value: string, rule: RegExp, instead: string): string {
  if (Token.isUnresolved(value)) refuse(what, "a token", "what it will be can't be checked", "write it out");
  if (!rule.test(value) || value.includes("**")) {
    const shown = JSON.stringify(value).slice(1, -1);
    refuse(what, `'${shown}'`, "a policy with it would be for nothing, or for more than is meant", `give ${instead}`);
  }
  return value;
}

/**
 * For another party: dropping the document that it signed, and the files that it lists, under `paths` of the uploads (such as
 * `vendor-x/*`). What it may publish is decided by its keys alone.
 */
export function delivering(resources: Resources, role: string, paths: string[], variables: IStringParameter): PolicyStatement[] {
  const { uploads, uploadsPrefix } = resources;
  const keys = [
    `delegations/${checked("grantDelivery's role", role, ROLE, "the name of a role: 'vendor-x'")}.json`,
    // In a policy `*` and `?` stand for `/` too: so these are the names that the patterns keep for the party.
    ...paths.map((path) => {
      return `${uploadsPrefix}${checked("grantDelivery's path", path, PATTERN, "a pattern as it was delegated: 'vendor-x/*'")}`;
    }),
  ];
  return [
    allow(
      ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"],
      ...keys.map((key) => uploads.arnForObjects(key)),
    ),
    ...encrypt(uploads),
    findRepository(variables),
  ];
}

/**
 * For an operator: reading everything, and how the deployment is set up (`tufline doctor`), making the first generation, roots,
 * delegations, accepting removals, and having any upload looked at again. Only this may write a root, `root-intent.json` and `removals-accepted.json`; it signs with no online
 * key and publishes nothing.
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
    // `tufline init`, `tufline delegation`. What is there already can't be replaced: the bucket's policy sees to that.
    write(ledger, "generations/*", "index/*", "drafts/*", "parties/*"),
    // What operators decide about delegations: nobody else may write there.
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
    // Looking at dead letters, and deleting one that nothing can read.
    allow(["sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:DeleteMessage"], ...arns(deadLetters), ...(chunks ? [chunks.deadLetters.queueArn] : [])),
    findRepository(variables),
  ];
}

/**
 * What `tufline doctor` asks of AWS beside what an operator needs anyway: reading only. The last four can be let for no resource in particular, or
 * for none that is known by its name
 * (<https://docs.aws.amazon.com/service-authorization/latest/reference/list_lambda.html>,
 * <https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoneventbridgescheduler.html>); they tell of others in the
 * account what they are called, and how they are set up.
 */
function lookingAtDeployment(name: string, { uploads, repository, ledger }: Resources): PolicyStatement[] {
  const functions = `arn:${Aws.PARTITION}:lambda:${Aws.REGION}:${Aws.ACCOUNT_ID}:function`;
  return [
    allow(
      ["s3:GetBucketVersioning", "s3:GetBucketPublicAccessBlock"],
      ...[uploads, repository, ledger].map((bucket) => bucket.bucketArn),
    ),
    allow(
      ["lambda:GetFunction", "lambda:GetFunctionRecursionConfig"],
      ...STAGES.map((stage) => `${functions}:${name}-${stage}`),
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

/** Adds the statements to the grantee's own policy. */
export function grant(what: string, grantee: IGrantable, statements: PolicyStatement[]): void {
  for (const statement of statements) {
    if (!grantee.grantPrincipal.addToPrincipalPolicy(statement).statementAdded) {
      refuse(`${what}'s grantee`, grantee.grantPrincipal, "it can't hold a policy", "grant to a role, user or group");
    }
  }
}
