/**
 * Gives access to devices that AWS IoT Core identifies by certificates. Its credentials provider
 * gives them keys, with which they sign requests
 * (<https://docs.aws.amazon.com/iot/latest/developerguide/authorizing-direct-aws.html>).
 */
import { Aws, Duration } from "aws-cdk-lib";
import { PolicyDocument, Role, ServicePrincipal } from "aws-cdk-lib/aws-iam";
import { CfnPolicy, CfnRoleAlias } from "aws-cdk-lib/aws-iot";
import { Construct } from "constructs";

import { ReadOptions } from "./api.ts";
import { refuse } from "./refusal.ts";
import { TuflineRepository } from "./tufline-repository.ts";
import { acknowledgeWildcards } from "./wildcards.ts";

export interface TuflineIotDevicesProps extends ReadOptions {
  /** The repository that the devices may read; its access is `iam`. */
  readonly repository: TuflineRepository;

  /**
   * The name of the role alias and of the policy for certificates: letters, digits, and `_=,@-`.
   * Unique in its account and region.
   *
   * @default the repository's name and `-devices`
   */
  readonly name?: string;

  /**
   * How long a device's keys are valid, even if its certificate is revoked meanwhile: 15 minutes to
   * 12 hours.
   *
   * @default Duration.hours(1)
   */
  readonly keysValidFor?: Duration;
}

/**
 * The role alias that devices name to the credentials provider, its role, and the policy that lets
 * a certificate use it.
 */
export class TuflineIotDevices extends Construct {
  /** The value of `role-alias` in a device's settings. */
  readonly roleAlias: string;
  /** The AWS IoT policy to attach to a device's certificate. */
  readonly policy: string;

  constructor(scope: Construct, id: string, props: TuflineIotDevicesProps) {
    super(scope, id);
    const { repository } = props;
    const name = props.name ?? `${repository.name}-devices`;
    // <https://docs.aws.amazon.com/iot/latest/apireference/API_CreateRoleAlias.html>
    if (!/^[\w=,@-]{1,128}$/.test(name)) {
      refuse("TuflineIotDevices' name", `'${name}'`, "a role alias can't have this name", "give it letters, digits and _=,@-");
    }
    const keysValidFor = (props.keysValidFor ?? Duration.hours(1)).toSeconds();
    if (keysValidFor < 900 || keysValidFor > 43_200) {
      const why = "the credentials provider gives no keys for that long";
      refuse("TuflineIotDevices' keysValidFor", `${keysValidFor} s`, why, "choose 15 minutes to 12 hours");
    }
    const anyOfIot = `arn:${Aws.PARTITION}:iot:${Aws.REGION}:${Aws.ACCOUNT_ID}:*`;
    const reading = repository.reading(props, "TuflineIotDevices");
    const role = new Role(this, "Role", {
      description: `Devices of ${repository.name}, by the credentials provider of AWS IoT Core`,
      // AWS IoT's source ARNs have this form, says
      // <https://docs.aws.amazon.com/iot/latest/developerguide/cross-service-confused-deputy-prevention.html>.
      // Which one the credentials provider sends, it doesn't say.
      assumedBy: new ServicePrincipal("credentials.iot.amazonaws.com", {
        conditions: { StringEquals: { "aws:SourceAccount": Aws.ACCOUNT_ID }, ArnLike: { "aws:SourceArn": anyOfIot } },
      }),
      // A role's shortest maximum session is an hour.
      maxSessionDuration: Duration.seconds(Math.max(keysValidFor, 3600)),
      inlinePolicies: { Read: new PolicyDocument({ statements: [reading] }) },
    });
    acknowledgeWildcards(role, [reading], "A device may read everything that the repository serves");
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
