/** What people and machines outside the pipeline may do, as statements for their own policies. */
import { IGrantable, PolicyStatement } from "aws-cdk-lib/aws-iam";
import { IKey } from "aws-cdk-lib/aws-kms";
import { IStringParameter } from "aws-cdk-lib/aws-ssm";

import { allow, decrypt, encrypt, list, OnlineKey, read, readUploads, Resources, send, write } from "./permissions.ts";
import { refuse } from "./refusal.ts";

/** `tufline --stack NAME` finds a repository by this. */
function findRepository(variables: IStringParameter): PolicyStatement {
  return allow(["ssm:GetParameter"], variables.parameterArn);
}

/** For a build system: dropping artifacts, removing them, and reading why one was refused. Nothing of the pipeline. */
export function uploading(resources: Resources, variables: IStringParameter): PolicyStatement[] {
  const { uploads, uploadsPrefix, ledger } = resources;
  return [
    ...readUploads(resources),
    allow(
      ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts", "s3:DeleteObject"],
      uploads.arnForObjects(`${uploadsPrefix}*`),
    ),
    read(ledger, "rejected/*"),
    ...decrypt(uploads, ledger),
    ...encrypt(uploads),
    findRepository(variables),
  ];
}

/**
 * For another party: dropping the document that it signed, and the files that it lists, under `paths` of the uploads (such as
 * `vendor-x/*`). What it may publish is decided by its keys alone.
 */
export function delivering(resources: Resources, role: string, paths: string[], variables: IStringParameter): PolicyStatement[] {
  const { uploads, uploadsPrefix } = resources;
  const keys = [`delegations/${role}.json`, ...paths.map((path) => `${uploadsPrefix}${path}`)];
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
 * For an operator: reading everything, making the first generation, roots, delegations, accepting removals, and having any
 * upload looked at again. Only this may write a root, `root-intent.json` and `removals-accepted.json`; it signs with no online
 * key and publishes nothing.
 */
export function operating(
  resources: Resources,
  keys: Record<OnlineKey, IKey[]>,
  variables: IStringParameter,
): PolicyStatement[] {
  const { uploads, repository, ledger, queues, deadLetters } = resources;
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
    allow(["kms:GetPublicKey"], ...Object.values(keys).flatMap((all) => all.map((key) => key.keyArn))),
    send(queues.uploads, queues.changes, queues.sign),
    allow(["sqs:GetQueueAttributes"], ...arns(queues)),
    // Looking at dead letters, and deleting one that nothing can read.
    allow(["sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:DeleteMessage"], ...arns(deadLetters)),
    findRepository(variables),
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
