import { CfnOutput, Stack } from "aws-cdk-lib";
import { Key } from "aws-cdk-lib/aws-kms";
import { Topic } from "aws-cdk-lib/aws-sns";
import { Construct } from "constructs";

import { ofIot, synthesizer } from "./emulator.ts";
import { TuflineIotDevices, TuflineIotDevicesProps } from "./iot-devices.ts";
import { TuflineRepositoryProps } from "./props.ts";
import { TuflineRepository } from "./tufline-repository.ts";

/** {@link TuflineRepositoryProps}, with existing resources given by their ARNs. */
export interface TuflineStackProps extends Omit<TuflineRepositoryProps, "encryptionKey" | "alarmTopic"> {
  /** The ARN of {@link TuflineRepositoryProps.encryptionKey}. */
  readonly encryptionKeyArn?: string | undefined;
  /** The ARN of {@link TuflineRepositoryProps.alarmTopic}. */
  readonly alarmTopicArn?: string | undefined;
  /**
   * Gives access to devices of AWS IoT Core, under access `iam`.
   *
   * @default no devices of AWS IoT Core
   */
  readonly iotDevices?: Omit<TuflineIotDevicesProps, "repository"> | undefined;
}

/** One repository in its own stack, with the names of its resources as outputs. */
export class TuflineStack extends Stack {
  readonly repository: TuflineRepository;

  constructor(scope: Construct, id: string, { encryptionKeyArn, alarmTopicArn, iotDevices, ...props }: TuflineStackProps) {
    super(scope, id, {
      description: "Tufline: a serverless TUF repository",
      synthesizer: synthesizer(props.emulator ?? false),
    });
    this.repository = new TuflineRepository(this, "Repository", {
      ...props,
      ...(encryptionKeyArn && { encryptionKey: Key.fromKeyArn(this, "EncryptionKey", encryptionKeyArn) }),
      ...(alarmTopicArn && { alarmTopic: Topic.fromTopicArn(this, "AlarmTopic", alarmTopicArn) }),
    });
    const iot = ofIot(iotDevices, props.emulator ?? false);
    const devices = iot && new TuflineIotDevices(this, "IotDevices", { ...iot, repository: this.repository });
    // In a scope of its own, since an output may have the same name as the repository.
    const outputs = new Construct(this, "Outputs");
    const output = (name: string, value: string, description: string) => {
      new CfnOutput(outputs, name, { value, description }).overrideLogicalId(name);
    };
    for (const [variable, value] of Object.entries(this.repository.variables)) {
      if (variable.startsWith("TUFLINE_")) output(outputName(variable), value, variable);
    }
    const { api, distribution } = this.repository;
    if (api) output("ApiId", api.apiId, "The HTTP API for devices");
    if (devices) {
      output("RoleAlias", devices.roleAlias, "The role alias that devices name to the credentials provider of AWS IoT Core");
      output("IotPolicy", devices.policy, "The AWS IoT policy for devices' certificates");
    }
    if (distribution) output("DistributionId", distribution.distributionId, "The CloudFront distribution for devices");
  }
}

/** `TUFLINE_DLQ_SIGN` → `DlqSign`: CloudFormation allows only letters and digits. */
function outputName(variable: string): string {
  return variable
    .replace(/^TUFLINE_/, "")
    .split("_")
    .map((word) => word.charAt(0) + word.slice(1).toLowerCase())
    .join("");
}
