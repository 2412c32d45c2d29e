import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { CLOUDFRONT, functionOf, KEY_ARN, only, Props, readable, repository, resources, stackTemplate, template, VARIANTS } from "./support.ts";

/**
 * The logical ids of buckets and keys. A changed id would make a new bucket or key, and what was
 * published would be gone.
 */
const BUCKETS = ["Repository71B74A19", "RepositoryLedger8E0972A3", "RepositoryUploadsDE29DA57"];
const KEYS = [
  "RepositoryBinsKey64658FC7",
  "RepositorySnapshotKey4BCB5F04",
  "RepositoryTargetsKeyF2CDB13D",
  "RepositoryTimestampKeyECFAC7AA",
];

/**
 * Properties for which CloudFormation replaces a bucket, or fails to update a key. None may depend
 * on a prop.
 */
const BUCKET_IDENTITY = ["BucketName", "BucketNamePrefix", "BucketNamespace", "ObjectLockEnabled"];
const KEY_IDENTITY = ["KeySpec", "KeyUsage", "MultiRegion", "Origin"];

test("no prop replaces an existing bucket or key", () => {
  const variants = [...Object.values(VARIANTS), ...Object.values(CLOUDFRONT)].map((props) => template(repository(props)));
  for (const variant of [stackTemplate(), stackTemplate(true), ...variants]) {
    const buckets = resources(variant, "AWS::S3::Bucket");
    const keys = resources(variant, "AWS::KMS::Key").filter(([, it]) => it.Properties.KeySpec !== undefined);
    assert.deepEqual(buckets.map(([id]) => id).sort(), BUCKETS);
    assert.deepEqual(keys.map(([id]) => id).sort(), KEYS);
    for (const [id, bucket] of buckets) {
      for (const property of BUCKET_IDENTITY) assert.equal(bucket.Properties[property], undefined, id);
    }
    for (const [id, key] of keys) {
      const identity = KEY_IDENTITY.map((property) => key.Properties[property]);
      assert.deepEqual(identity, ["ECC_NIST_P256", "SIGN_VERIFY", undefined, undefined], id);
    }
    for (const [id, resource] of [...buckets, ...keys]) {
      // A first deployment that fails leaves nothing: the bucket would be empty, and nobody would
      // look for it.
      assert.deepEqual([resource.DeletionPolicy, resource.UpdateReplacePolicy], ["RetainExceptOnCreate", "Retain"], id);
    }
  }
});

test("a role's second key is added beside the first, and stays when the first is removed", () => {
  const before = KEYS.filter((id) => !id.includes("TimestampKey"));
  for (const [numbers, expected] of [
    [[1, 2], 2],
    [[2], 1],
  ] as const) {
    const variant = template(repository(() => ({ onlineKeys: { timestamp: [...numbers] } })));
    const ids = resources(variant, "AWS::KMS::Key").map(([id]) => id);
    const [second] = ids.filter((id) => id.startsWith("RepositoryTimestampKey2"));
    const first = numbers.length === 2 ? ["RepositoryTimestampKeyECFAC7AA"] : [];
    assert.deepEqual(ids.sort(), [...before, ...first, second].sort());
    // The functions get both keys, the oldest first, and may sign with both.
    const { Variables } = functionOf(variant, "publish")[1].Properties.Environment;
    const told = readable(Variables.TUFLINE_KEY_TIMESTAMP).split(",");
    assert.equal(told.length, expected);
    assert.match(told.at(-1)!, /TimestampKey2/);
    const policies = ids.map((id) => variant.Resources[id].Properties.KeyPolicy.Statement[1].Principal);
    const [newest] = resources(variant, "AWS::KMS::Key").filter(([id]) => id === second);
    const { Principal } = newest![1].Properties.KeyPolicy.Statement[1];
    assert.equal(policies.filter((it) => JSON.stringify(it) === JSON.stringify(Principal)).length, expected);
  }
});

test("buckets are versioned and private, and their policies protect what was written", () => {
  const full = stackTemplate();
  for (const [id, bucket] of resources(full, "AWS::S3::Bucket")) {
    const { VersioningConfiguration, PublicAccessBlockConfiguration, OwnershipControls, LifecycleConfiguration } =
      bucket.Properties;
    assert.equal(VersioningConfiguration.Status, "Enabled", id);
    assert.deepEqual(Object.values(PublicAccessBlockConfiguration), [true, true, true, true], id);
    assert.deepEqual(OwnershipControls.Rules, [{ ObjectOwnership: "BucketOwnerEnforced" }], id);
    assert.ok(
      LifecycleConfiguration.Rules.some((rule: any) => rule.AbortIncompleteMultipartUpload),
      id,
    );
  }
  const sids = resources(full, "AWS::S3::BucketPolicy").map(([, it]) => {
    const statements: any[] = it.Properties.PolicyDocument.Statement;
    assert.ok(statements.every(({ Effect, Principal }) => Effect === "Deny" && Principal.AWS === "*"));
    return statements.map(({ Sid }) => Sid);
  });
  const all = ["OnlyOverTls", "KeepForever", "WriteOnce", "WriteConditionally"];
  assert.deepEqual(sids.sort(), [["OnlyOverTls"], all, [...all.slice(0, 3), "WriteOnceInParts", all[3]]]);
});

test("with replaceRoots the first root still can't be replaced, and no write is blind", () => {
  const writes = (props: Props) => {
    const policies = resources(template(repository(() => props)), "AWS::S3::BucketPolicy");
    const statements = policies.flatMap(([, { Properties }]) => Properties.PolicyDocument.Statement as any[]);
    const inMetadata = (resource: any) => readable(resource).match(/metadata\/.*/)?.[0] ?? [];
    return Object.fromEntries(
      ["WriteOnce", "WriteConditionally"].map((sid) => {
        const keys = statements.filter(({ Sid }) => Sid === sid).flatMap(({ Resource }) => [Resource].flat());
        return [sid, keys.flatMap(inMetadata)];
      }),
    );
  };
  assert.deepEqual(writes({}), { WriteOnce: ["metadata/*.*.json"], WriteConditionally: ["metadata/*"] });
  const kept = (trustedRoot?: string) => {
    const { WriteOnce, WriteConditionally } = writes({ replaceRoots: true, trustedRoot });
    assert.deepEqual(WriteConditionally, ["metadata/*"]);
    return WriteOnce!;
  };
  assert.deepEqual(kept(), ["metadata/1.root.json"]);
  assert.deepEqual(kept("0f".repeat(32)), ["metadata/1.root.json"]);
  // And none before it. The patterns use `?` for any digit of a root's version.
  for (const first of [9, 10, 15, 237, 2026]) {
    const patterns = kept(`${first}:${"0f".repeat(32)}`).map((key) => new RegExp(`^${key.replaceAll(".", "\\.").replaceAll("?", ".")}$`));
    for (let version = 1; version < 3000; version++) {
      const isKept = patterns.some((pattern) => pattern.test(`metadata/${version}.root.json`));
      assert.equal(isKept, version <= first, `${version}, where ${first} is the first`);
    }
  }
});

test("with a key the buckets encrypt with it, and with bucket keys", () => {
  for (const [id, bucket] of resources(template(repository(VARIANTS.iam)), "AWS::S3::Bucket")) {
    const [rule] = bucket.Properties.BucketEncryption.ServerSideEncryptionConfiguration;
    assert.equal(rule.BucketKeyEnabled, true, id);
    const expected = { SSEAlgorithm: "aws:kms", KMSMasterKeyID: KEY_ARN };
    assert.deepEqual(rule.ServerSideEncryptionByDefault, expected, id);
  }
});

test("uploads expire where the operator wants it, and in no other bucket", () => {
  const rules = (of: any, id: string) => of.Resources[id].Properties.LifecycleConfiguration.Rules;
  const uploads = "RepositoryUploadsDE29DA57";
  const expiring = template(repository(VARIANTS.jwt));
  const rule = rules(expiring, uploads).find(({ Id }: any) => Id === "uploads");
  assert.deepEqual([rule.Prefix, rule.ExpirationInDays, rule.Status], ["targets/", 30, "Enabled"]);
  assert.deepEqual(rule.NoncurrentVersionExpiration, { NoncurrentDays: 30 });
  assert.equal(rules(stackTemplate(), uploads).length, 1);
  for (const id of BUCKETS.filter((id) => id !== uploads)) {
    for (const { Prefix, ExpirationInDays } of rules(expiring, id)) {
      assert.ok(ExpirationInDays === undefined || ["incoming/", "checked/"].includes(Prefix), id);
    }
  }
  const ours = resources(expiring, "AWS::S3::Bucket").flatMap(([id]) => rules(expiring, id));
  for (const prefix of ["incoming/", "checked/"]) {
    const found = ours.filter(({ Prefix }: any) => Prefix === prefix);
    const kinds = found.map((rule: any) => rule.ExpirationInDays ?? rule.ExpiredObjectDeleteMarker);
    assert.deepEqual(kinds, [2, true], prefix);
  }
});

test("old versions expire for pointers only, except the newest ten", () => {
  const full = stackTemplate();
  const buckets: Record<string, string> = { Repository: "Repository71B74A19", Ledger: "RepositoryLedger8E0972A3" };
  for (const { kind, bucket, path, isPointer } of storedKinds()) {
    const rules: any[] = full.Resources[buckets[bucket]!].Properties.LifecycleConfiguration.Rules;
    // A rule without a prefix applies to all objects.
    const about = rules.filter((rule) => path.startsWith(rule.Prefix ?? "") && !rule.AbortIncompleteMultipartUpload);
    const copies = ["Incoming", "Checked"].includes(kind);
    assert.equal(about.length, copies ? 2 : isPointer ? 1 : 0, `${kind} at ${path}`);
    if (!isPointer) continue;
    const { Id, Prefix, Status, ...does } = about[0];
    assert.equal(Status, "Enabled", Id);
    assert.deepEqual(does, { NoncurrentVersionExpiration: { NoncurrentDays: 30, NewerNoncurrentVersions: 10 } }, Id);
  }
});

test("the uploads bucket notifies the queue of objects created or removed below its prefixes", () => {
  const full = stackTemplate();
  const { NotificationConfiguration } = full.Resources.RepositoryUploadsDE29DA57.Properties;
  const [queue] = only(full, "AWS::SQS::Queue", ({ QueueName }) => QueueName === "Tufline-uploads");
  assert.deepEqual(
    NotificationConfiguration.QueueConfigurations.map(({ Event, Filter, Queue }: any) => [Event, Filter, Queue]),
    ["targets/", "delegations/"].flatMap((prefix) =>
      ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"].map((event) => [
        event,
        { S3Key: { Rules: [{ Name: "prefix", Value: prefix }] } },
        { "Fn::GetAtt": [queue, "Arn"] },
      ]),
    ),
  );
});

/** A bucket policy's statements by `Sid`: the actions, the keys and the conditions. */
function policyOf(template: any, bucket: string): Record<string, { actions: string[]; keys: string[]; conditions: any }> {
  const [, { Properties }] = only(template, "AWS::S3::BucketPolicy", (it) => readable(it.Bucket) === bucket);
  const statements: any[] = Properties.PolicyDocument.Statement;
  return Object.fromEntries(
    statements.map(({ Sid, Action, Resource, Condition }) => {
      const keys = [Resource].flat().map((resource) => readable(resource).replace(`${bucket}/`, ""));
      return [Sid, { actions: [Action].flat(), keys, conditions: Condition }];
    }),
  );
}

/** Whether a statement applies to a key. `*` in a policy matches any characters, including `/`. */
function isAbout(patterns: string[], key: string): boolean {
  const literally = (text: string) => text.replace(/[.+?^${}()|[\]\\]/g, "\\$&");
  return patterns.some((pattern) => new RegExp(`^${pattern.split("*").map(literally).join(".*")}$`).test(key));
}

/**
 * An example object of each stored kind, from `shared/store/src/key.rs`: its path, and whether it
 * may be replaced.
 */
function storedKinds(): { kind: string; bucket: string; path: string; isPointer: boolean }[] {
  const source = readFileSync(new URL("../../shared/store/src/key.rs", import.meta.url), "utf8");
  const methods = source.slice(source.indexOf("\nimpl Key {"));
  const body = (name: string) => methods.match(new RegExp(`fn ${name}\\(.*?\\n    }\\n`, "s"))![0];
  const kindsIn = (text: string) => [...text.matchAll(/Self::(\w+)/g)].map(([, kind]) => kind!);
  const kinds = [...source.match(/pub enum Key \{.*?\n\}\n/s)![0].matchAll(/^    (\w+)[,({ ]/gm)].map(([, kind]) => kind!);
  const pointers = kindsIn(body("is_pointer"));
  const inRepository = kindsIn(body("bucket").match(/match self \{(.*?)=> (?:\{\s*)?Bucket::Repository/s)![1]!);
  // A role's name and the parts in braces may be anything.
  const paths = Object.fromEntries(
    [...body("path").matchAll(/Self::(\w+)[^=]*=> (?:format!\()?"([^"]*)"/g)].map(([, kind, path]) => [
      kind!,
      path!.replace(/\{[^}]*\}/g, "x"),
    ]),
  );
  assert.deepEqual(Object.keys(paths), kinds, "each kind has a path");
  return kinds.map((kind) => ({
    kind,
    bucket: inRepository.includes(kind) ? "Repository" : "Ledger",
    path: paths[kind]!,
    isPointer: pointers.includes(kind),
  }));
}

test("objects are created once, except pointers, which are replaced under a condition only", () => {
  const full = stackTemplate();
  const kinds = storedKinds();
  assert.ok(kinds.length > 15 && kinds.some(({ isPointer }) => isPointer), `${kinds.length}`);
  const overwrites = { Null: { "s3:if-none-match": "true" } };
  const blind = { Null: { "s3:if-none-match": "true", "s3:if-match": "true" } };
  const makes = { Bool: { "s3:ObjectCreationOperation": "true" } };
  for (const { kind, bucket, path, isPointer } of kinds) {
    const policy = policyOf(full, bucket);
    const about = Object.keys(policy).filter((sid) => sid.startsWith("Write") && isAbout(policy[sid]!.keys, path));
    const expected: Record<string, string[]> = {
      // Copies that hash makes to learn a digest. Only hash writes or reads them, and makes each
      // again when needed.
      Incoming: [],
      // Copies that sign and publish make. Nobody reads them: S3 returns the digest to the request
      // that makes one.
      Checked: [],
      // Large blobs are made by multipart uploads.
      Blob: ["WriteOnceInParts"],
    };
    const inMetadata = path.startsWith("metadata/") || bucket === "Ledger" ? ["WriteConditionally"] : [];
    assert.deepEqual(about, expected[kind] ?? [...(isPointer ? [] : ["WriteOnce"]), ...inMetadata], `${kind} at ${path}`);
    for (const sid of about) {
      const { actions, conditions } = policy[sid]!;
      assert.deepEqual(actions, ["s3:PutObject"], sid);
      const due: Record<string, any> = {
        WriteOnce: overwrites,
        WriteOnceInParts: { ...overwrites, ...makes },
        WriteConditionally: blind,
      };
      assert.deepEqual(conditions, due[sid], sid);
    }
    const { actions, keys, conditions } = policy["KeepForever"]!;
    assert.deepEqual([actions, keys, conditions], [["s3:DeleteObject", "s3:DeleteObjectVersion"], ["*"], undefined]);
  }
});
