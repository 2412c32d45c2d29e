import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const code = readFileSync(new URL("../edge/path.js", import.meta.url), "utf8");

/** The function's result for a viewer's path: a status, or the place to which the request goes. */
function asked(uri: string): number | string {
  const origins: string[] = [];
  const [begin, ...rest] = code.split("\n");
  // Only CloudFront has this module. Its call selects an origin in place of the behavior's own.
  assert.equal(begin, "import cf from 'cloudfront';");
  const cf = { selectRequestOriginById: (id: string) => origins.push(id) };
  const handler = new Function("cf", `"use strict";${rest.join("\n")}\nreturn handler;`)(cf);
  const request = { method: "GET", uri, querystring: {}, headers: {}, cookies: {} };
  const answer = handler({ version: "1.0", context: { eventType: "viewer-request" }, viewer: { ip: "203.0.113.1" }, request });
  if (answer.statusCode !== undefined) return answer.statusCode;
  assert.equal(answer, request);
  return [...origins, answer.uri].join(" ");
}

const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");
const [A, B] = [sha256("a"), sha256("b")];

/** The paths in a test of serve. */
function cases(test: string): string[] {
  const source = readFileSync(new URL("../../functions/serve/src/path.rs", import.meta.url), "utf8");
  const [, body] = source.split(`fn ${test}() {`);
  const [, list] = /for (?:path|raw) in \[([^]*?)\] \{/.exec(body!)!;
  const found: string[] = JSON.parse(`[${list!.trim().replace(/,$/, "")}]`);
  assert.ok(found.length >= 4, test);
  return found.map((path) => path.replaceAll("DIGEST", A));
}

test("both layouts lead to the same blob, as for serve", () => {
  for (const path of cases("both_layouts_lead_to_the_same_blob")) {
    assert.equal(asked(`/targets/${path}`), `/blobs/${A}`, path);
    assert.equal(asked(`/chunks/${path}`), `/chunks/${A}`, path);
  }
});

test("if a path fits both layouts, serve decides which blob exists", () => {
  assert.equal(asked(`/targets/${A}.dir/${B}.file`), `serve /targets/${A}.dir/${B}.file`);
  assert.equal(asked(`/targets/${A}.dir%2F${B}.fi%6ce`), `serve /targets/${A}.dir/${B}.file`);
  assert.equal(asked(`/chunks/${A}.dir/${B}.file`), `serve /chunks/${A}.dir/${B}.file`);
});

test("paths that are no target's are not found, as for serve", () => {
  for (const path of cases("what_is_no_target_is_not_found")) {
    for (const tree of ["targets", "chunks", "blobs"]) assert.equal(asked(`/${tree}/${path}`), 404, path);
  }
  assert.equal(asked(`/targets/${A.toUpperCase()}.file`), 404);
});

test("paths are decoded once and strictly, as for serve", () => {
  for (const path of cases("paths_are_decoded_strictly")) {
    assert.equal(asked(path), 404, path);
    assert.equal(asked(`/targets/${A}.a${path.slice(1)}`), 404, path);
  }
  assert.equal(asked(`/targets/dir/${A}.a%2Bb%40c+d`), `/blobs/${A}`);
  assert.equal(asked(`/targets/dir/${A}.a%252Bb`), 404, "once only");
});

test("metadata has one spelling, as for serve, which answers roots and the timestamp", () => {
  for (const path of cases("metadata_has_one_spelling")) assert.equal(asked(path), 404, path);
  for (const path of ["/metadata/1.snapshot.json", "/metadata/12.targets.json", "/metadata/7.bin-0f.json", "/metadata/18446744073709551615.vendor_x.json"]) {
    assert.equal(asked(path), path);
  }
  for (const path of ["/metadata/timestamp.json", "/metadata/1.root.json", "/metadata/12.root.json"]) assert.equal(asked(path), `serve ${path}`);
  assert.equal(asked("/metadata/1.root%2Ejson"), "serve /metadata/1.root.json");
  assert.equal(asked("/metadata/1.%72oot.json"), "serve /metadata/1.root.json");
});

test("no hostile path reaches the bucket", () => {
  const hostile = [
    ...["/", "", "//", "/blobs/", `/blobs/${A}`, "/chunks", `/chunks/${A}`, "/incoming/x", "/checked/x", "/metadata", "/targets", "/pack", "*", "/*"],
    ...["/metadata/..", "/metadata/../", "/metadata/%2e%2e/", "/metadata/..%2f", "/metadata/..;/", "/metadata/.", "/targets/..%5c", "/targets/%00"],
    ...["/metadata/0.snapshot.json", "/metadata/-1.snapshot.json", "/metadata/1.Root.json", "/metadata/1.root.json/", "/metadata/1.root.json%00", "/metadata/1.a.b.json"],
    ...["/metadata/1.snapshot.json%0d%0aX: y", "/metadata/1.snapshot.json\n", "/metadata/1.snapshot.json?x", "/METADATA/1.snapshot.json", "/metadata/1.snapshotXjson"],
    ...[`/metadata/${"9".repeat(400)}.snapshot.json`, `/metadata/1.${"a".repeat(65)}.json`, `/targets/${"a/".repeat(1000)}${A}.a`, `/targets/${"%61".repeat(3000)}`],
    ...[`/targets/${A}.a/../../metadata/1.root.json`, `/targets/${A}.a\\b`, `/targets/${A}.é`, `/targets/${A}.a b`, `/targets/${A}.a\u2215b`, `/targets/${A}${A}.a`],
    ...[`/targets/${A.slice(1)}.a`, `/targets/g${A.slice(1)}.a`, `/targets/-/${A}.a`, `/targets/${A}.-a`, `/targets/${A}.a%`, `/targets/\ud800${A}.a`],
  ];
  for (const uri of hostile) assert.equal(asked(uri), 404, JSON.stringify(uri));
});

test("any name leads to its blob, in both layouts and however a client encodes it", () => {
  const [first, others] = ["ABab09_", "ABab09_._~+@=,-"];
  let seed = 1;
  const below = (most: number) => (seed = (seed * 48_271) % 2_147_483_647) % most;
  const segment = () => first[below(first.length)]! + Array.from({ length: below(12) }, () => others[below(others.length)]!).join("");
  for (let round = 0; round < 2_000; round++) {
    const name = Array.from({ length: 1 + below(4) }, segment).join("/");
    const digest = sha256(name);
    const at = name.lastIndexOf("/") + 1;
    for (const path of [`${digest}.${name}`, `${name.slice(0, at)}${digest}.${name.slice(at)}`]) {
      const [encode, percent] = [encodeURIComponent, (it: string) => `%${it.charCodeAt(0).toString(16).padStart(2, "0")}`];
      const whole = path.length < 330 ? [path.replace(/[^/]/g, percent)] : [];
      for (const uri of [path, path.split("/").map(encode).join("/"), encode(path), ...whole]) {
        assert.equal(asked(`/targets/${uri}`), `/blobs/${digest}`, uri);
      }
    }
  }
});

/**
 * https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/cloudfront-limits.html#limits-functions
 */
test("the function is small enough for CloudFront, and uses only what its runtime has", () => {
  assert.ok(code.length <= 10_240, `${code.length}`);
  assert.doesNotMatch(code.replace(/\/\/.*/g, ""), /\?\.|\?\?|\bclass\b|\bfor\b.*\bof\b|\.\.\.|#\w|\bawait\b|\brequire\b|\bexport\b/);
});
