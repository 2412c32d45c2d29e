/**
 * The online keys. A key's own policy alone says who may sign with it: no policy of IAM can, neither a function's
 * (`permissions.ts` has nothing about these keys) nor an administrator's.
 *
 * What IAM may allow is administration, so that the account is never locked out of a key. Whoever may change a key's
 * policy can let themselves sign, which shows in CloudTrail as `PutKeyPolicy`.
 */
import { RemovalPolicy } from "aws-cdk-lib";
import { AccountRootPrincipal, IRole, PolicyDocument, PolicyStatement } from "aws-cdk-lib/aws-iam";
import { Key, KeySpec, KeyUsage } from "aws-cdk-lib/aws-kms";
import { Construct } from "constructs";

import { keptStatements } from "./emulator.ts";
import { capitalized } from "./names.ts";
import { OnlineKey } from "./permissions.ts";

/** All of KMS that CloudFormation and operators need; nothing that signs, or lets another sign. */
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

/** Who may do what with a key. */
export interface KeyUsers {
  readonly signers: IRole[];
  /** Who may read the public key beside them. */
  readonly readers: IRole[];
}

/** Key `number` of the TUF role `name`. It stays when the stack is deleted, and when its number is taken away, but not when the very deployment that makes it fails. */
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
  // In a key's policy this is the key itself.
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
      // Only what Tufline asks for: a digest, in the one scheme that the roles' keys have in TUF.
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
