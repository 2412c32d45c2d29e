/** Two repositories in one stack: gateways update from the first, cameras from the second. */
import { App, CfnOutput, Stack } from "aws-cdk-lib";
import { OpenIdConnectPrincipal, OpenIdConnectProvider, Role } from "aws-cdk-lib/aws-iam";
import { Topic } from "aws-cdk-lib/aws-sns";
import { TuflineIotDevices, TuflineRepository } from "tufline-cdk";

const app = new App();
const stack = new Stack(app, "Firmware");

// Both repositories tell the same people when something needs them.
const alarmTopic = new Topic(stack, "Alarms");

// Anybody may read the gateways' firmware. Their images are large, so they fetch differences only.
const gateways = new TuflineRepository(stack, "Gateways", {
  name: "Gateways",
  access: { mode: "open" },
  chunks: true,
  alarmTopic,
});

// Cameras sign their requests, with keys that AWS IoT Core gives to each camera's certificate.
const cameras = new TuflineRepository(stack, "Cameras", {
  name: "Cameras",
  access: { mode: "iam" },
  alarmTopic,
});
new TuflineIotDevices(stack, "CameraDevices", { repository: cameras });

// Each team's GitHub Actions may upload below its own prefix of its own repository.
const gitHub = OpenIdConnectProvider.fromOpenIdConnectProviderArn(
  stack,
  "GitHub",
  stack.formatArn({ service: "iam", region: "", resource: "oidc-provider", resourceName: "token.actions.githubusercontent.com" }),
);

/** A role for the workflows that run on the main branch of a GitHub repository. */
function builds(id: string, gitHubRepository: string): Role {
  const conditions = {
    StringEquals: {
      "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
      "token.actions.githubusercontent.com:sub": `repo:${gitHubRepository}:ref:refs/heads/main`,
    },
  };
  return new Role(stack, id, { assumedBy: new OpenIdConnectPrincipal(gitHub, conditions) });
}

const gatewayBuilds = builds("GatewayBuilds", "ORGANIZATION/gateway-firmware");
gateways.grantUpload(gatewayBuilds, { prefix: "gateway/" });

const cameraBuilds = builds("CameraBuilds", "ORGANIZATION/camera-firmware");
cameras.grantUpload(cameraBuilds, { prefix: "camera/" });
// `tufline upload --wait` looks at what is published as a device does.
cameras.grantRead(cameraBuilds);

for (const { name, variables } of [gateways, cameras]) {
  new CfnOutput(stack, `${name}MetadataUrl`, { value: variables["TUFLINE_METADATA_URL"]! });
  new CfnOutput(stack, `${name}TargetsUrl`, { value: variables["TUFLINE_TARGETS_URL"]! });
}
new CfnOutput(stack, "GatewayBuildsRole", { value: gatewayBuilds.roleArn });
new CfnOutput(stack, "CameraBuildsRole", { value: cameraBuilds.roleArn });
