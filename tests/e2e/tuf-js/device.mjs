// A device with tuf-js's unmodified client. It reads one request from its argument and answers in
// JSON on standard output. Without an argument it plays one device after another: it reads one
// request a line from standard input, and answers each with a line, `{"error"}` if it failed.
//
//     {"metadata_url", "targets_url", "folder", "root", "names": […], "download": true|false,
//      "headers": {…}}
//
// The answer is {NAME: {"sha256", "length", "path"} or null}. `folder` holds the device's state
// from one update to the next.
import { copyFileSync, existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";

import { BaseFetcher, Updater } from "tuf-js";
import { DownloadHTTPError } from "tuf-js/dist/error.js";

/**
 * Sends header fields to the API, as a device with a token must, and none of them to a redirect's
 * target.
 */
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
      // tuf-js recognizes the end of its walk over the roots by this error.
      throw new DownloadHTTPError(`${url}: ${response.status}`, response.status);
    }
    return response.body;
  }
}

async function ask(request) {
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
    // tuf-js stores a target under its own name, so each gets its own file here.
    const file = join(targetDir, `${index}`);
    found[name] = target
      ? {
          sha256: target.hashes.sha256,
          length: target.length,
          ...(request.download && { path: await updater.downloadTarget(target, file, request.targets_url) }),
        }
      : null;
  }
  return found;
}

const given = process.argv[2];
if (given) {
  console.log(JSON.stringify(await ask(JSON.parse(given))));
} else {
  for await (const line of createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await ask(JSON.parse(line)).catch((error) => ({ error: `${error}` }))));
  }
}
