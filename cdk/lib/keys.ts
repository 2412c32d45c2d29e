/**
 * The online keys. A key's own policy alone decides who may sign with it. No IAM policy can: not a
 * function's (`permissions.ts` says nothing about these keys), and not an administrator's.
 *
 * IAM policies may allow administration, so that the account can't be locked out of a key. An
 * administrator who may change a key's policy can give themselves the right to sign; CloudTrail
 * then shows `PutKeyPolicy`.
 */
import { RemovalPolicy } from "aws-cdk-lib";
import { AccountRootPrincipal, IRole, PolicyDocument, PolicyStatement } from "aws-cdk-lib/aws-iam";
import { Key, KeySpec, KeyUsage } from "aws-cdk-lib/aws-kms";
import { Construct } from "constructs";

import { keptStatements } from "./emulator.ts";
import { capitalized } from "./names.ts";
import { OnlineKey } from "./permissions.ts";

/**
 * All KMS actions that CloudFormation and operators need. None of them signs or grants the right to
 * sign, except through `PutKeyPolicy`.
 */
const ADMINISTRATION = [
  "kms:CancelKeyDeletion",
  "kms:CreateAlias",
  "kms:DeleteAlias",
  "kms:DescribeKey",
  "kms:DisableKey",
  "kms:EnableKey",
  "kms:GetKeyPolicy",
  "kms:GetKeyRotationStatus",
  "kms:GetPublicKey",
  "kms:ListGrants",
  "kms:ListKeyPolicies",
  "kms:ListResourceTags",
  "kms:PutKeyPolicy",
  "kms:RevokeGrant",
  "kms:ScheduleKeyDeletion",
  "kms:TagResource",
  "kms:UntagResource",
  "kms:UpdateAlias",
  "kms:UpdateKeyDescription",
];

/** The roles that may use a key. */
export interface KeyUsers {
  readonly signers: IRole[];
  /** Roles other than the signers that may read the public key. */
  readonly readers: IRole[];
}

/**
 * Creates key `number` of the TUF role `name`. The key stays when the stack is deleted or its
 * number is removed. It is deleted only if the deployment that creates it fails.
 */
export function onlineKey(
  scope: Construct,
  repository: string,
  name: OnlineKey,
  number: number,
  users: KeyUsers,
  emulator: boolean,
): Key {
  const which = number === 1 ? "" : `${number}`;
  return new Key(scope, `${capitalized(name)}Key${which}`, {
    description: `TUF ${name} key ${which && `${which} `}of ${repository}`,
    keySpec: KeySpec.ECC_NIST_P256,
    keyUsage: KeyUsage.SIGN_VERIFY,
    removalPolicy: RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
    policy: new PolicyDocument({ statements: keptStatements(policy(users), emulator) }),
  });
}

function policy({ signers, readers }: KeyUsers): PolicyStatement[] {
  // In a key's policy, `*` means the key itself.
  const resources = ["*"];
  return [
    new PolicyStatement({
      sid: "Administer",
      principals: [new AccountRootPrincipal()],
      actions: ADMINISTRATION,
      resources,
    }),
    new PolicyStatement({
      sid: "Sign",
      principals: signers,
      actions: ["kms:Sign"],
      resources,
      // Only what Tufline needs: signing a digest, in the one scheme that the role's keys have in
      // TUF.
      conditions: { StringEquals: { "kms:SigningAlgorithm": "ECDSA_SHA_256", "kms:MessageType": "DIGEST" } },
    }),
    new PolicyStatement({
      sid: "ReadPublicKey",
      principals: [...signers, ...readers],
      actions: ["kms:GetPublicKey"],
      resources,
    }),
  ];
}
