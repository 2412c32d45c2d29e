/**
 * Writes the templates of all variants, and of the app's own stack, into a folder. `tests/run cdk`
 * checks them with cfn-lint.
 *
 *     node --import tsx test/templates.ts DIR
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { App } from "aws-cdk-lib";
import { Template } from "aws-cdk-lib/assertions";

import { TuflineStack } from "../lib/tufline-stack.ts";
import { CLOUDFRONT, OPEN, repository, stackTemplate, template, VARIANTS } from "./support.ts";

const folder = process.argv[2]!;
const cached = Object.entries(CLOUDFRONT).map(([name, props]) => [`cloudfront-${name}`, props] as const);
const variants = Object.entries({ ...VARIANTS, chunks: () => ({ chunks: true }) });
const all = [...variants, ...cached].map(([name, props]) => [name, template(repository(props))] as const);
const ofIot = new TuflineStack(new App(), "Tufline", { ...OPEN, access: { mode: "iam" }, iotDevices: { pathsByThingType: true } });
const stacks = [["app", stackTemplate()], ["iot-devices", Template.fromStack(ofIot).toJSON()]] as const;
for (const [name, of] of [...stacks, ...all]) {
  writeFileSync(join(folder, `${name}.template.json`), JSON.stringify(of));
}
