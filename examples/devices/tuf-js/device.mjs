// A device with tuf-js: node device.mjs ROOT METADATA_URL TARGETS_URL STATE NAME OUT
//
//     npm install tuf-js
//
// ROOT is the root.json of the device's image. STATE is a folder that survives a reboot.
import { constants, copyFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";

import { Updater } from "tuf-js";

const [root, metadataBaseUrl, targetBaseUrl, metadataDir, name, out] = process.argv.slice(2);
mkdirSync(metadataDir, { recursive: true });
try {
  copyFileSync(root, join(metadataDir, "root.json"), constants.COPYFILE_EXCL);
} catch (error) {
  // The device has a root already: this one or a newer one.
  if (error.code !== "EEXIST") throw error;
}
const updater = new Updater({ metadataDir, metadataBaseUrl, targetBaseUrl });
await updater.refresh();
const target = await updater.getTargetInfo(name);
if (!target) throw new Error(`no target ${name}`);
// What is there already, with the right digest, is not downloaded again.
if (!(await updater.findCachedTarget(target, out))) await updater.downloadTarget(target, out);
console.log(`${name} is in ${out}, verified`);
