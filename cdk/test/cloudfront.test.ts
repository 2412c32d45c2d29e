import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { App, Stack } from "aws-cdk-lib";
import { Annotations, Match, Template } from "aws-cdk-lib/assertions";

import { Access } from "../lib/access.ts";
import { TuflineStack } from "../lib/tufline-stack.ts";
import { CLOUDFRONT, functionOf, only, OPEN, OWNERSHIP_ARN, Props, readable, repository, resources, template, VARIANTS } from "./support.ts";

const made = Object.fromEntries(Object.entries(CLOUDFRONT).map(([name, props]) => [name, repository(props)]));
const variants = Object.fromEntries(Object.entries(made).map(([name, of]) => [name, template(of)]));

/** The distribution's configuration. */
function config(variant: any): any {
  return only(variant, "AWS::CloudFront::Distribution")[1].Properties.DistributionConfig;
}

/**
 * The behavior for a path: the first that matches, else the default (`*` matches any characters,
 * including `/`).
 */
function behaviorOf(variant: any, path: string): any {
  const { CacheBehaviors, DefaultCacheBehavior } = config(variant);
  const matches = ({ PathPattern }: any) => {
    return new RegExp(`^${PathPattern.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*")}$`).test(path);
  };
  return CacheBehaviors.find(matches) ?? DefaultCacheBehavior;
}

function policyOf(variant: any, path: string): any {
  return variant.Resources[behaviorOf(variant, path).CachePolicyId.Ref].Properties.CachePolicyConfig;
}

function distributionArn(variant: any): string {
  const [id] = only(variant, "AWS::CloudFront::Distribution");
  return `arn:<AWS::Partition>:cloudfront::<AWS::AccountId>:distribution/${readable({ Ref: id })}`;
}

/** The statements of the repository bucket's policy. */
function bucketPolicy(variant: any): any[] {
  const [, { Properties }] = only(variant, "AWS::S3::BucketPolicy", ({ Bucket }) => readable(Bucket) === "Repository");
  return Properties.PolicyDocument.Statement;
}

for (const [name, variant] of Object.entries(variants)) {
  /**
   * https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/private-content-restricting-access-to-lambda.html
   */
  test(`${name}: only this distribution reaches the functions`, () => {
    const api = Object.values<any>(variant.Resources).filter(({ Type }) => Type.startsWith("AWS::ApiGateway"));
    assert.deepEqual(api, []);
    const asked = name === "chosen" ? ["serve"] : ["serve", "pack"];
    const urls = resources(variant, "AWS::Lambda::Url").map(([id, { Properties }]) => {
      assert.deepEqual([Properties.AuthType, Properties.Cors], ["AWS_IAM", undefined]);
      return [id, Properties.TargetFunctionArn["Fn::GetAtt"][0]];
    });
    assert.deepEqual(urls.map(([, id]) => id), asked.map((stage) => functionOf(variant, stage)[0]));
    const permissions = resources(variant, "AWS::Lambda::Permission").map(([, { Properties: it }]) => {
      assert.deepEqual([it.Principal, readable(it.SourceArn)], ["cloudfront.amazonaws.com", distributionArn(variant)]);
      // Otherwise the permission would also cover events that look like requests.
      if (it.Action === "lambda:InvokeFunction") assert.equal(it.InvokedViaFunctionUrl, true);
      return `${it.Action} ${it.FunctionName["Fn::GetAtt"][0]}`;
    });
    const both = ["lambda:InvokeFunction", "lambda:InvokeFunctionUrl"];
    assert.deepEqual(permissions.sort(), both.flatMap((action) => urls.map(([id]) => `${action} ${id}`)).sort());
    const { Origins } = config(variant);
    const controls = Origins.map(({ Id, OriginAccessControlId }: any) => {
      const { Properties } = variant.Resources[OriginAccessControlId["Fn::GetAtt"][0]];
      const { OriginAccessControlOriginType: type, SigningBehavior, SigningProtocol } = Properties.OriginAccessControlConfig;
      assert.deepEqual([SigningBehavior, SigningProtocol], ["always", "sigv4"]);
      return [Id, type];
    });
    assert.deepEqual(Object.fromEntries(controls), { bucket: "s3", ...Object.fromEntries(asked.map((stage) => [stage, "lambda"])) });
    for (const { CustomOriginConfig: it } of Origins.filter(({ Id }: any) => Id !== "bucket")) {
      assert.deepEqual([it.OriginProtocolPolicy, it.OriginSSLProtocols], ["https-only", ["TLSv1.2"]]);
    }
  });

  test(`${name}: roots and the timestamp come from serve, unchanging files from the bucket, and all through the path's function`, () => {
    const digest = "0f".repeat(32);
    const places: [string, string, boolean][] = [
      ["/metadata/timestamp.json", "serve", false],
      ["/metadata/1.root.json", "serve", false],
      ["/metadata/12345.root.json", "serve", false],
      ["/metadata/12.snapshot.json", "bucket", true],
      ["/metadata/12.targets.json", "bucket", true],
      ["/metadata/12.bin-0f.json", "bucket", true],
      [`/targets/dir/${digest}.file`, "bucket", true],
      [`/targets/${digest}.dir/file`, "bucket", true],
      ["/pack", name === "chosen" ? "serve" : "pack", name === "chosen"],
      ["/", "serve", true],
      ["/packs", "serve", true],
      [`/blobs/${digest}`, "serve", true],
      ["/metadata", "serve", true],
    ];
    for (const [path, origin, byFunction] of places) {
      const { TargetOriginId, FunctionAssociations = [], ViewerProtocolPolicy, AllowedMethods, OriginRequestPolicyId } = behaviorOf(variant, path);
      assert.deepEqual([TargetOriginId, FunctionAssociations.length], [origin, byFunction ? 1 : 0], path);
      assert.deepEqual([ViewerProtocolPolicy, AllowedMethods, OriginRequestPolicyId], ["https-only", ["GET", "HEAD"], undefined], path);
    }
    for (const { TargetOriginId, FunctionAssociations } of [...config(variant).CacheBehaviors, config(variant).DefaultCacheBehavior]) {
      if (TargetOriginId === "bucket") assert.equal(FunctionAssociations?.length, 1, "the bucket is asked for what the function leaves only");
    }
    assert.notEqual(config(variant).DefaultCacheBehavior.TargetOriginId, "bucket");
    const [id, { Properties }] = only(variant, "AWS::CloudFront::Function");
    assert.deepEqual([Properties.AutoPublish, Properties.FunctionConfig.Runtime], [true, "cloudfront-js-2.0"]);
    assert.equal(Properties.FunctionCode, readFileSync(new URL("../edge/path.js", import.meta.url), "utf8"));
    assert.match(Properties.FunctionCode, /^const SERVE = 'serve';$/m);
    const { EventType, FunctionARN } = behaviorOf(variant, "/targets/x").FunctionAssociations[0];
    assert.deepEqual([EventType, FunctionARN], ["viewer-request", { "Fn::GetAtt": [id, "FunctionARN"] }]);
  });

  /** A device's answer passes two caches: an edge's, and its region's. */
  test(`${name}: a new root is hidden for less than five seconds, and no error is kept beyond what serve says`, () => {
    const changing = ["/metadata/timestamp.json", "/metadata/7.root.json", ...(name === "chosen" ? [] : ["/pack"]), "/else"];
    for (const path of changing) {
      const { MinTTL, DefaultTTL, MaxTTL } = policyOf(variant, path);
      assert.deepEqual([MinTTL, DefaultTTL, MaxTTL], [0, 0, 2], path);
      const published = readFileSync(new URL("../../shared/tuf/src/root/published.rs", import.meta.url), "utf8");
      const [, hidden] = /const LONGEST_HIDDEN_SECONDS: i64 = (\d+);/.exec(published)!;
      assert.ok(2 * MaxTTL < Number(hidden));
    }
    // https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/HTTPStatusCodes.html: the
    // statuses that CloudFront keeps, except 416, which serve never answers.
    const kept = [400, 403, 404, 405, 414, 500, 501, 502, 503, 504];
    assert.deepEqual(
      config(variant).CustomErrorResponses,
      kept.map((ErrorCode) => ({ ErrorCachingMinTTL: 0, ErrorCode })),
    );
  });

  test(`${name}: the cache keys contain exactly what an answer depends on`, () => {
    const depends = (path: string) => {
      const it = policyOf(variant, path).ParametersInCacheKeyAndForwardedToOrigin;
      assert.deepEqual([it.CookiesConfig.CookieBehavior, it.HeadersConfig.HeaderBehavior], ["none", "none"]);
      return [it.QueryStringsConfig.QueryStringBehavior, it.EnableAcceptEncodingGzip, it.EnableAcceptEncodingBrotli, behaviorOf(variant, path).Compress];
    };
    // Serve compresses with gzip itself, and its `ETag` depends on that.
    for (const path of ["/metadata/timestamp.json", "/metadata/7.root.json"]) assert.deepEqual(depends(path), ["none", true, false, false]);
    for (const path of ["/metadata/7.snapshot.json", "/targets/x"]) assert.deepEqual(depends(path), ["none", true, true, true]);
    if (name !== "chosen") assert.deepEqual(depends("/pack"), ["all", false, false, false]);
  });

  test(`${name}: it may read the bucket's unchanging files except roots, and every other denial stays`, () => {
    const before = bucketPolicy(template(repository((stack) => {
      const { cloudFront: _, ...props } = CLOUDFRONT[name]!(stack);
      return props;
    })));
    assert.ok(before.length >= 5 && before.every(({ Effect }) => Effect === "Deny"));
    const statements = bucketPolicy(variant);
    assert.deepEqual(statements.slice(0, before.length), before);
    const added = statements.slice(before.length).map(({ Sid, Effect, Principal, Action, Resource, Condition }) => {
      assert.deepEqual(Principal, { Service: "cloudfront.amazonaws.com" });
      const of = Condition && readable(Condition.StringEquals["aws:SourceArn"]);
      if (Effect === "Allow") assert.equal(of, distributionArn(variant), Sid);
      else assert.equal(Condition, undefined);
      return `${Effect} ${Action} ${[Resource].flat().map(readable).join(" ")}`;
    });
    assert.deepEqual(added, [
      "Allow s3:GetObject Repository/metadata/*.*.json Repository/blobs/* Repository/chunks/*",
      "Allow s3:ListBucket Repository",
      "Deny s3:GetObject Repository/metadata/*.root.json",
    ]);
    for (const [, { Properties }] of resources(variant, "AWS::S3::BucketPolicy")) {
      if (readable(Properties.Bucket) === "Repository") continue;
      assert.ok(!JSON.stringify(Properties).includes("cloudfront"), "no other bucket");
    }
  });

  test(`${name}: devices' URLs are CloudFront's own, or the domain's`, () => {
    const [, parameter] = only(variant, "AWS::SSM::Parameter");
    const told = JSON.parse(readable(parameter.Properties.Value));
    const endpoint = name === "plain" ? "https://Distribution" : "https://tuf.example.org";
    assert.deepEqual(
      [told.TUFLINE_METADATA_URL, told.TUFLINE_TARGETS_URL, told.TUFLINE_PACK_URL],
      [`${endpoint}/metadata/`, `${endpoint}/targets/`, name === "chosen" ? undefined : `${endpoint}/pack`],
    );
    assert.deepEqual(config(variant).Aliases, name === "plain" ? undefined : ["tuf.example.org"]);
    assert.equal(config(variant).ViewerCertificate?.MinimumProtocolVersion, name === "plain" ? undefined : "TLSv1.2_2021");
    assert.deepEqual([made[name]!.api, made[name]!.domain, made[name]!.distribution === undefined], [undefined, undefined, false]);
  });

  test(`${name}: an alarm watches each function's server errors, and the dashboard stays within the free tier`, () => {
    const watched = resources(variant, "AWS::CloudWatch::Alarm")
      .map(([, { Properties: it }]) => it)
      .filter(({ MetricName }) => MetricName === "Url5xxCount")
      .map(({ AlarmName, Namespace, Dimensions, Statistic, Threshold, AlarmDescription }) => {
        assert.match(AlarmDescription, /docs\/operations\.md#alarm-serve-errors$/);
        return `${AlarmName}: ${Namespace} of ${readable(Dimensions[0].Value)}, ${Statistic} >= ${Threshold}`;
      });
    const of = (stage: string, id: string) => `Tufline-${stage}-errors: AWS/Lambda of ${id}, Sum >= 5`;
    assert.deepEqual(watched, [of("serve", "Serve"), ...(name === "chosen" ? [] : [of("pack", "Pack")])]);
    const [, { Properties }] = only(variant, "AWS::CloudWatch::Dashboard");
    const text: string = Properties.DashboardBody["Fn::Join"][1].map(readable).join("");
    const metrics: any[][] = JSON.parse(text).widgets.flatMap(({ properties }: any) => properties.metrics ?? []);
    // https://aws.amazon.com/cloudwatch/pricing/: three dashboards of up to 50 metrics.
    assert.ok(metrics.length <= 50, `${metrics.length}`);
    const ofCloudFront = metrics.filter(([namespace]) => namespace === "AWS/CloudFront");
    assert.deepEqual(ofCloudFront.map(([, metric]) => metric), ["Requests", "4xxErrorRate", "5xxErrorRate"]);
    for (const metric of ofCloudFront) assert.equal(metric.at(-1).region, "us-east-1");
  });
}

/**
 * https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-properties-cloudfront-distribution-viewermtlsconfig.html
 */
test("mtls: a request needs a certificate of the truststore", () => {
  const [id, { Properties }] = only(variants.mtls, "AWS::CloudFront::TrustStore");
  const { Bucket, Key, Region, Version } = Properties.CaCertificatesBundleSource.CaCertificatesBundleS3Location;
  assert.deepEqual([Bucket, Key, Region, Version], ["truststore", "devices.pem", { Ref: "AWS::Region" }, "v1"]);
  const { ViewerMtlsConfig, HttpVersion } = config(variants.mtls);
  assert.deepEqual(ViewerMtlsConfig, { Mode: "required", TrustStoreConfig: { TrustStoreId: { "Fn::GetAtt": [id, "Id"] } } });
  // Over HTTP/3 CloudFront asks for no certificate.
  assert.equal(HttpVersion, "http2");
  for (const name of ["plain", "chosen"]) {
    assert.equal(config(variants[name]).ViewerMtlsConfig, undefined);
    assert.deepEqual(resources(variants[name], "AWS::CloudFront::TrustStore"), []);
  }
});

test("a web ACL and a bucket for logs are as they were chosen", () => {
  const { WebACLId, Logging } = config(variants.chosen);
  assert.match(WebACLId, /:global\/webacl\/devices\//);
  assert.match(readable(Logging.Bucket), /^logs\.s3\./);
  assert.equal(Logging.Prefix, "Tufline/");
  assert.deepEqual([config(variants.plain).WebACLId, config(variants.plain).Logging], [undefined, undefined]);
});

test("CloudFront may use a bucket's key, or a warning tells the operator that it can't", () => {
  const warnings = (name: string) => Annotations.fromStack(Stack.of(made[name]!)).findWarning("*", Match.anyValue()).map(({ entry }) => entry.data);
  const [, { Properties }] = only(variants.chosen, "AWS::KMS::Key", ({ KeySpec }) => KeySpec === undefined);
  const [statement] = Properties.KeyPolicy.Statement.filter(({ Sid }: any) => Sid === "DecryptForCloudFront");
  assert.deepEqual([statement.Effect, statement.Action, statement.Principal], ["Allow", "kms:Decrypt", { Service: "cloudfront.amazonaws.com" }]);
  assert.equal(readable(statement.Condition.ArnLike["aws:SourceArn"]), "arn:<AWS::Partition>:cloudfront::<AWS::AccountId>:distribution/*");
  assert.deepEqual(warnings("chosen"), []);
  assert.deepEqual(warnings("plain"), []);
  const [told, ...others] = warnings("mtls");
  assert.match(String(told), /^CloudFront can't read the bucket until the policy of encryptionKey allows it: docs\/deploy-more\.md#cloudfront /);
  assert.deepEqual(others, []);
  // The page has the same statement that the construct adds where it can.
  const page = readFileSync(new URL("../../docs/deploy-more.md", import.meta.url), "utf8").split("\n## ").find((it) => it.startsWith("CloudFront\n"))!;
  const [, block] = /```json\n([^]*?)```/.exec(page)!;
  const documented = JSON.parse(block!);
  assert.deepEqual(
    { ...documented, Condition: { ArnLike: { "aws:SourceArn": documented.Condition.ArnLike["aws:SourceArn"].replace("ACCOUNT", "<AWS::AccountId>") } } },
    { ...statement, Condition: { ArnLike: { "aws:SourceArn": "arn:aws:cloudfront::<AWS::AccountId>:distribution/*" } } },
  );
});

test("CloudFront's names contain repository and region, since all regions share them", () => {
  const types = ["OriginAccessControl", "CachePolicy", "Function", "TrustStore"];
  const named = types.flatMap((type) => resources(variants.mtls, `AWS::CloudFront::${type}`).map(([, { Properties: it }]) => {
    return readable(it.Name ?? it.OriginAccessControlConfig?.Name ?? it.CachePolicyConfig?.Name);
  }));
  assert.equal(named.length, 7);
  assert.equal(new Set(named).size, named.length);
  for (const name of named) assert.match(name, /<AWS::Region>/);
  // The longest names of regions are as long as ap-northeast-1, and CloudFront's names have at most
  // 64 characters.
  for (const name of named.filter((it) => !/(ChangingFiles|Packs)/.test(it))) assert.ok(name.replace("<AWS::Region>", "ap-northeast-1").length <= 64, name);
});

test("on the emulator devices use the API in place of CloudFront, and nothing else differs", () => {
  const of = (props: Props) => Template.fromStack(new TuflineStack(new App(), "Tufline", { ...OPEN, emulator: true, ...props })).toJSON();
  assert.deepEqual(of({ cloudFront: {} }), of({}));
});

test("the stack's outputs have the distribution in place of the API", () => {
  const { Outputs } = Template.fromStack(new TuflineStack(new App(), "Tufline", { ...OPEN, cloudFront: {} })).toJSON();
  assert.ok(Outputs.DistributionId && Outputs.PackUrl && !Outputs.ApiId);
});

const IAM: Access = { mode: "iam" };
const JWT: Access = { mode: "jwt", issuer: "https://issuer.example.org", audience: ["devices"] };

const REFUSED: [string, (stack: Stack) => Props, RegExp][] = [
  ["signed requests", () => ({ access: IAM }), /access is 'iam' with cloudFront: CloudFront would answer other devices from its cache; leave /],
  ["tokens", () => ({ access: JWT }), /access is 'jwt' with cloudFront: /],
  ["a throttle", () => ({ throttle: { rate: 1, burst: 1 } }), /throttle is chosen with cloudFront: CloudFront has no throttle; leave it out, /],
  ["a throttle of packs", () => ({ packs: { throttle: { rate: 1, burst: 1 } } }), /packs\.throttle is chosen with cloudFront: /],
  [
    "a second domain",
    (stack) => {
      const { cloudFront } = CLOUDFRONT.chosen!(stack);
      const { access } = VARIANTS.mtls!(stack);
      const { ownershipCertificate: _, ...own } = access as Extract<Access, { mode: "mtls" }>;
      return { access: own, cloudFront: cloudFront! };
    },
    /cloudFront\.domain is 'tuf\.example\.org': devices ask access\.domainName; leave it out$/,
  ],
  [
    "a certificate that shows whose the domain is",
    (stack) => ({ access: VARIANTS.mtls!(stack).access! }),
    /access\.ownershipCertificate is chosen with cloudFront: only API Gateway checks/,
  ],
];

for (const [what, props, reason] of REFUSED) {
  test(`refused with CloudFront: ${what}`, () => {
    assert.throws(
      () => repository((stack) => ({ cloudFront: {}, ...props(stack) })),
      (error: Error) => {
        assert.match(error.message, reason);
        assert.match(error.message, /^TuflineRepository: [^\n]+: [^\n]+; [^\n]+$/);
        return true;
      },
    );
  });
}

test("refused with CloudFront: a certificate of another region", () => {
  assert.ok(OWNERSHIP_ARN.includes("eu-central-1"));
  const props = (stack: Stack): Props => {
    const { ownershipCertificate: _, ...access } = VARIANTS.mtls!(stack).access as Extract<Access, { mode: "mtls" }>;
    return { access, cloudFront: {} };
  };
  assert.throws(() => repository(props), /certificates must be in the us-east-1 region/);
});
