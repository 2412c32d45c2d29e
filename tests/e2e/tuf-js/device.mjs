// A device: tuf-js's client, unmodified. Reads one request from its argument and answers in JSON on standard output.
//
//     {"metadata_url", "targets_url", "folder", "root", "names": […], "download": true|false, "headers": {…}}
//
// answers {NAME: {"sha256", "length", "path"} or null}. `folder` is the device's state from one update to the next.
import { copyFileSync, existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";

import { BaseFetcher, Updater } from "tuf-js";
import { DownloadHTTPError } from "tuf-js/dist/error.js";

/** Sends header fields to the API, as a device must that has a token, and none to where it redirects. */
class FetcherWithHeaders extends BaseFetcher {
  constructor(headers) {
    super();
    this.headers = headers;
  }

  async fetch(url) {
    let response = await fetch(url, { headers: this.headers, redirect: "manual" });
    const link = response.headers.get("location");
    if (link) response = await fetch(link);
    if (!response.ok || !response.body) {
      // tuf-js knows the end of its walk over the roots by this.
      throw new DownloadHTTPError(`${url}: ${response.status}`, response.status);
    }
    return response.body;
  }
}

const request = JSON.parse(process.argv[2]);
const metadataDir = join(request.folder, "metadata");
const targetDir = join(request.folder, "targets");
for (const folder of [metadataDir, targetDir]) mkdirSync(folder, { recursive: true });
const root = join(metadataDir, "root.json");
if (!existsSync(root)) copyFileSync(request.root, root);

const updater = new Updater({
  metadataDir,
  metadataBaseUrl: request.metadata_url,
  targetDir,
  targetBaseUrl: request.targets_url,
  ...(request.headers && { fetcher: new FetcherWithHeaders(request.headers) }),
});
await updater.refresh();

const found = {};
for (const [index, name] of request.names.entries()) {
  const target = await updater.getTargetInfo(name);
  // tuf-js keeps a target under its own name, so each gets a file of its own.
  const file = join(targetDir, `${index}`);
  found[name] = target
    ? {
        sha256: target.hashes.sha256,
        length: target.length,
        ...(request.download && { path: await updater.downloadTarget(target, file, request.targets_url) }),
      }
    : null;
}
console.log(JSON.stringify(found));
