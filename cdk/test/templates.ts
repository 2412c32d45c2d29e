/**
 * Writes the templates of all variants, and of the app's own stack, into a folder: for cfn-lint, which `tests/run cdk` has read them.
 *
 *     node --import tsx test/templates.ts DIR
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { CLOUDFRONT, repository, stackTemplate, template, VARIANTS } from "./support.ts";

const folder = process.argv[2]!;
const cached = Object.entries(CLOUDFRONT).map(([name, props]) => [`cloudfront-${name}`, props] as const);
const all = [...Object.entries(VARIANTS), ...cached].map(([name, props]) => [name, template(repository(props))] as const);
for (const [name, of] of [["app", stackTemplate()], ...all] as const) {
  writeFileSync(join(folder, `${name}.template.json`), JSON.stringify(of));
}
