/**
 * Makes what the npm package brings beside this folder's own files: the library as JavaScript, the
 * licences, and the functions' archives that `cdk/bundle` made. `npm pack` and `npm publish` run
 * this first, and remove it all afterwards.
 *
 * A package without archives works too: its users then build them, and name their folder.
 */
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";

const [here, root] = [resolve(import.meta.dirname, ".."), resolve(import.meta.dirname, "../..")];
const made = join(resolve(root, process.env["CARGO_TARGET_DIR"] ?? "target"), "lambda");

for (const folder of ["dist", "lambda"]) rmSync(join(here, folder), { recursive: true, force: true });
const { status } = spawnSync("tsc", ["--project", "tsconfig.package.json"], { cwd: here, stdio: "inherit" });
if (status !== 0) process.exit(1);

for (const file of readdirSync(root).filter((file) => file.startsWith("LICENSE-"))) {
  copyFileSync(join(root, file), join(here, file));
}

const archives = existsSync(made) ? readdirSync(made).filter((file) => file.endsWith(".zip")) : [];
mkdirSync(join(here, "lambda"));
for (const archive of archives) copyFileSync(join(made, archive), join(here, "lambda", archive));
console.error(archives.length ? `with ${archives.sort().join(", ")}` : `without archives: ${made} has none`);
