/** The functions' programs, as Lambda gets them. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { Architecture, Code } from "aws-cdk-lib/aws-lambda";

import { record } from "./names.ts";
import { Program, PROGRAMS } from "./permissions.ts";
import { TuflineRepositoryProps } from "./props.ts";
import { refuse } from "./refusal.ts";

/** The archives that the npm package brings, `ARCHITECTURE-PROGRAM.zip`. */
const OWN = new URL("../lambda/", import.meta.url);

/** Each program's code: from the folder `bundle`, or else from the package's own archives. */
export function programs({ bundle, architecture = Architecture.ARM_64 }: TuflineRepositoryProps): Record<Program, Code> {
  return record(PROGRAMS, (program) => {
    if (bundle !== undefined) return Code.fromAsset(join(bundle, program));
    const archive = fileURLToPath(new URL(`${architecture.name}-${program}.zip`, OWN));
    if (!existsSync(archive)) {
      const why = `this copy of tufline-cdk has no programs for ${architecture.name}`;
      refuse("bundle", "missing", why, "build them with `cdk/bundle` in Tufline's checkout, and name their folder");
    }
    return Code.fromAsset(archive);
  });
}
