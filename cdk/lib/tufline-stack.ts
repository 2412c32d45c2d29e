import { CfnOutput, Stack } from "aws-cdk-lib";
import { Construct } from "constructs";

import { synthesizer } from "./emulator.ts";
import { TuflineRepository, TuflineRepositoryProps } from "./tufline-repository.ts";

/** One repository in a stack of its own, with the names of its resources as outputs. */
export class TuflineStack extends Stack {
  readonly repository: TuflineRepository;

  constructor(scope: Construct, id: string, props: TuflineRepositoryProps) {
    super(scope, id, {
      description: "Tufline: a serverless TUF repository",
      synthesizer: synthesizer(props.emulator ?? false),
    });
    this.repository = new TuflineRepository(this, "Repository", props);
    for (const [variable, value] of Object.entries(this.repository.environment)) {
      new CfnOutput(this, outputName(variable), { value, description: variable });
    }
  }
}

/** `TUFLINE_DLQ_SIGN` is the output `DlqSign`: CloudFormation wants letters and digits only. */
function outputName(variable: string): string {
  return variable
    .replace(/^TUFLINE_/, "")
    .split("_")
    .map((word) => word.charAt(0) + word.slice(1).toLowerCase())
    .join("");
}
