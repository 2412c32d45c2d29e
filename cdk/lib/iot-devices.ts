/**
 * Lets devices in that AWS IoT Core knows by their certificates: its credentials provider gives them keys, with which they sign
 * (<https://docs.aws.amazon.com/iot/latest/developerguide/authorizing-direct-aws.html>).
 */
import { Aws, Duration, Stack } from "aws-cdk-lib";
import { PolicyDocument, Role, ServicePrincipal } from "aws-cdk-lib/aws-iam";
import { CfnPolicy, CfnRoleAlias } from "aws-cdk-lib/aws-iot";
import { Construct } from "constructs";

import { ReadOptions } from "./api.ts";
import { refuse } from "./refusal.ts";
import { TuflineRepository } from "./tufline-repository.ts";
import { acknowledgeWildcards } from "./wildcards.ts";

export interface TuflineIotDevicesProps extends ReadOptions {
  /** What they may read: a repository under access `iam`. */
  readonly repository: TuflineRepository;

  /**
   * What the role alias and the policy for certificates are called: letters, digits, and the signs `_=,@-`. Unique in its account and region.
   *
   * @default the repository's name and `-devices`
   */
  readonly name?: string;

  /**
   * For how long keys are good, of a device too whose certificate was revoked since: 15 minutes to 12 hours.
   *
   * @default Duration.hours(1)
   */
  readonly keysValidFor?: Duration;
}

/** The role alias that devices ask the credentials provider for, its role, and the policy that lets a certificate ask. */
export class TuflineIotDevices extends Construct {
  /** What a device's settings have as `role-alias`. */
  readonly roleAlias: string;
  /** The AWS IoT policy to attach to a device's certificate. */
  readonly policy: string;

  constructor(scope: Construct, id: string, props: TuflineIotDevicesProps) {
    super(scope, id);
    const { repository } = props;
    const name = props.name ?? `${repository.name}-devices`;
    // <https://docs.aws.amazon.com/iot/latest/apireference/API_CreateRoleAlias.html>
    if (!/^[\w=,@-]{1,128}$/.test(name)) {
      refuse("TuflineIotDevices' name", `'${name}'`, "a role alias can't be called so", "give it letters, digits and _=,@-");
    }
    const keysValidFor = (props.keysValidFor ?? Duration.hours(1)).toSeconds();
    if (keysValidFor < 900 || keysValidFor > 43_200) {
      const why = "the credentials provider gives none for so long";
      refuse("TuflineIotDevices' keysValidFor", `${keysValidFor} s`, why, "choose 15 minutes to 12 hours");
    }
    // Written out, since the role names the alias, and the alias the role.
    const alias = Stack.of(this).formatArn({ service: "iot", resource: "rolealias", resourceName: name });
    const reading = repository.reading(props, "TuflineIotDevices");
    const role = new Role(this, "Role", {
      description: `Devices of ${repository.name}, by the credentials provider of AWS IoT Core`,
      // <https://docs.aws.amazon.com/iot/latest/developerguide/cross-service-confused-deputy-prevention.html>
      assumedBy: new ServicePrincipal("credentials.iot.amazonaws.com", {
        conditions: { StringEquals: { "aws:SourceAccount": Aws.ACCOUNT_ID }, ArnLike: { "aws:SourceArn": alias } },
      }),
      // An hour is the least that a role has.
      maxSessionDuration: Duration.seconds(Math.max(keysValidFor, 3600)),
      inlinePolicies: { Read: new PolicyDocument({ statements: [reading] }) },
    });
    acknowledgeWildcards(role, [reading], "A device may read what the repository serves, whatever there is in it");
    const made = new CfnRoleAlias(this, "RoleAlias", {
      roleAlias: name,
      roleArn: role.roleArn,
      credentialDurationSeconds: keysValidFor,
    });
    const policy = new CfnPolicy(this, "Policy", {
      policyName: name,
      policyDocument: {
        Version: "2012-10-17",
        Statement: [{ Effect: "Allow", Action: "iot:AssumeRoleWithCertificate", Resource: made.attrRoleAliasArn }],
      },
    });
    this.roleAlias = made.ref;
    this.policy = policy.ref;
  }
}
