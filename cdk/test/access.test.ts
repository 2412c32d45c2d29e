import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { Access } from "../lib/access.ts";
import { functionOf, only, OWNERSHIP_ARN, readable, repository, resources, roleOf, template, VARIANTS } from "./support.ts";

const variants = Object.fromEntries(
  Object.entries(VARIANTS).map(([mode, props]) => [mode, template(repository(props))]),
);

function routes(mode: string): any[] {
  return resources(variants[mode], "AWS::ApiGatewayV2::Route").map(([, it]) => it.Properties);
}

for (const [mode, variant] of Object.entries(variants)) {
  test(`${mode}: three trees and packs can be read, and nothing else is there`, () => {
    const files = ["GET", "HEAD"].flatMap((method) => ["metadata", "targets", "chunks"].map((tree) => `${method} /${tree}/{proxy+}`));
    const answering = { serve: files, pack: ["GET /pack"] };
    assert.deepEqual(
      routes(mode)
        .map(({ RouteKey }) => RouteKey)
        .sort(),
      Object.values(answering).flat().sort(),
    );
    for (const [stage, keys] of Object.entries(answering)) {
      const arn = { "Fn::GetAtt": [functionOf(variant, stage)[0], "Arn"] };
      const ofFunction = (it: any) => JSON.stringify(it) === JSON.stringify(arn);
      const [integration, { Properties }] = only(variant, "AWS::ApiGatewayV2::Integration", (it) => ofFunction(it.IntegrationUri));
      assert.deepEqual([Properties.IntegrationType, Properties.PayloadFormatVersion], ["AWS_PROXY", "2.0"]);
      for (const { RouteKey, Target } of routes(mode)) {
        assert.equal(JSON.stringify(Target).includes(`"${integration}"`), keys.includes(RouteKey), `${RouteKey} by ${stage}`);
      }
      const [, permission] = only(variant, "AWS::Lambda::Permission", (it) => ofFunction(it.FunctionName));
      assert.equal(permission.Properties.Principal, "apigateway.amazonaws.com");
      assert.match(readable(permission.Properties.SourceArn), /:execute-api:.*:Api\/\*\/\*\/\*$/);
    }
    assert.equal(resources(variant, "AWS::Lambda::Permission").length, 2);
  });

  test(`${mode}: requests are logged as JSON`, () => {
    const [, { Properties }] = only(variant, "AWS::ApiGatewayV2::Stage");
    assert.deepEqual([Properties.StageName, Properties.AutoDeploy], ["$default", true]);
    const [log] = only(variant, "AWS::Logs::LogGroup", ({ LogGroupName }) => LogGroupName.endsWith("-api"));
    assert.deepEqual(Properties.AccessLogSettings.DestinationArn, { "Fn::GetAtt": [log, "Arn"] });
    // API Gateway requires the request's id in it.
    assert.equal(JSON.parse(Properties.AccessLogSettings.Format).request, "$context.requestId");
  });

  test(`${mode}: every route requires what the mode says, and nothing bypasses it`, () => {
    const types = { open: "NONE", mtls: "NONE", iam: "AWS_IAM", jwt: "JWT" } as Record<string, string>;
    for (const { AuthorizationType } of routes(mode)) assert.equal(AuthorizationType, types[mode]);
    const [, { Properties }] = only(variant, "AWS::ApiGatewayV2::Api");
    assert.equal(Properties.DisableExecuteApiEndpoint ?? false, mode === "mtls");
    assert.equal(Properties.CorsConfiguration, undefined);
    assert.equal(resources(variant, "AWS::ApiGatewayV2::Authorizer").length, mode === "jwt" ? 1 : 0);
    assert.equal(resources(variant, "AWS::ApiGatewayV2::DomainName").length, mode === "mtls" ? 1 : 0);
  });
}

test("jwt: every route asks for a token of the issuer, made for the audience", () => {
  const [id, { Properties }] = only(variants.jwt, "AWS::ApiGatewayV2::Authorizer");
  assert.equal(Properties.AuthorizerType, "JWT");
  assert.deepEqual(Properties.IdentitySource, ["$request.header.Authorization"]);
  assert.deepEqual(Properties.JwtConfiguration, { Audience: ["devices"], Issuer: "https://issuer.example.org" });
  for (const { AuthorizerId } of routes("jwt")) assert.deepEqual(AuthorizerId, { Ref: id });
});

test("mtls: the domain is the only endpoint, and requires a certificate", () => {
  const [domain, { Properties }] = only(variants.mtls, "AWS::ApiGatewayV2::DomainName");
  assert.equal(Properties.DomainName, "tuf.example.org");
  assert.deepEqual(Properties.MutualTlsAuthentication, {
    TruststoreUri: "s3://truststore/devices.pem",
    TruststoreVersion: "v1",
  });
  const [configuration] = Properties.DomainNameConfigurations;
  assert.deepEqual([configuration.SecurityPolicy, configuration.EndpointType], ["TLS_1_2", "REGIONAL"]);
  assert.equal(configuration.OwnershipVerificationCertificateArn, OWNERSHIP_ARN);
  const [, mapping] = only(variants.mtls, "AWS::ApiGatewayV2::ApiMapping");
  assert.deepEqual([mapping.Properties.DomainName, mapping.Properties.Stage], [{ Ref: domain }, "$default"]);
  const made = repository(VARIANTS.mtls);
  assert.equal(made.domain?.name !== undefined, true);
});

test("devices may come over IPv6 too", () => {
  for (const variant of Object.values(variants)) {
    assert.equal(only(variant, "AWS::ApiGatewayV2::Api")[1].Properties.IpAddressType, "dualstack");
    for (const [, { Properties }] of resources(variant, "AWS::ApiGatewayV2::DomainName")) {
      for (const { IpAddressType } of Properties.DomainNameConfigurations) assert.equal(IpAddressType, "dualstack");
    }
  }
});

test("devices' URLs are the API's own, or the domain's", () => {
  const urls = (mode: string) => {
    const { TUFLINE_METADATA_URL, TUFLINE_TARGETS_URL, TUFLINE_PACK_URL } = repository(VARIANTS[mode]).variables;
    return [TUFLINE_METADATA_URL, TUFLINE_TARGETS_URL, TUFLINE_PACK_URL];
  };
  for (const url of urls("open")) assert.match(url!, /^\$\{Token\[.*\]\}\/(metadata\/|targets\/|pack)$/);
  const [, parameter] = only(variants.mtls, "AWS::SSM::Parameter");
  const [domain] = only(variants.mtls, "AWS::ApiGatewayV2::DomainName");
  assert.match(readable(parameter.Properties.Value), /"TUFLINE_METADATA_URL":"https:\/\/Domain\/metadata\/"/);
  assert.match(readable(parameter.Properties.Value), /"TUFLINE_PACK_URL":"https:\/\/Domain\/pack"/);
  assert.match(domain, /Domain/);
});

const REFUSED: [string, Access, RegExp][] = [
  [
    "an issuer without TLS",
    { mode: "jwt", issuer: "http://issuer.example.org", audience: ["a"] },
    /access\.issuer is 'http:.*begins with https:\/\/$/,
  ],
  [
    "no audience",
    { mode: "jwt", issuer: "https://issuer.example.org", audience: [] },
    /access\.audience is \[\]: a token for any other/,
  ],
  [
    "an empty audience",
    { mode: "jwt", issuer: "https://issuer.example.org", audience: ["a", ""] },
    /access\.audience is \["a",""\]: /,
  ],
];

for (const [what, access, reason] of REFUSED) {
  test(`refused: ${what}`, () => assert.throws(() => repository(() => ({ access })), reason));
}

test("refused: an invalid domain", () => {
  assert.throws(
    () =>
      repository((stack) => {
        const { access } = VARIANTS.mtls!(stack);
        return { access: { ...(access as Extract<Access, { mode: "mtls" }>), domainName: "https://tuf.example.org" } };
      }),
    /access\.domainName is 'https:\/\/tuf\.example\.org': /,
  );
});

for (const [stage, role] of [["serve", "Serve"], ["pack", "Pack"]] as const) {
  test(`${stage} has the reading role and a short timeout, and only the API invokes it`, () => {
    const [id, { Properties }] = functionOf(variants.open, stage);
    assert.equal(roleOf(variants.open, stage).includes(role), true);
    assert.deepEqual([Properties.Timeout, Properties.MemorySize], [10, 512]);
    const mappings = resources(variants.open, "AWS::Lambda::EventSourceMapping").map(
      ([, it]) => it.Properties.FunctionName.Ref,
    );
    assert.ok(!mappings.includes(id));
  });
}

test("serve and pack are one program, and the pipeline's functions another", () => {
  const code = (stage: string) => JSON.stringify(functionOf(variants.open, stage)[1].Properties.Code);
  assert.equal(code("pack"), code("serve"));
  assert.notEqual(code("pack"), code("sign"));
});

test("a cache keeps packs only under open access, and no longer than a root may be hidden", () => {
  const ages = Object.entries(variants).map(([mode, variant]) => {
    return [mode, functionOf(variant, "pack")[1].Properties.Environment.Variables.TUFLINE_PACK_MAX_AGE];
  });
  assert.deepEqual(Object.fromEntries(ages), { open: "5", iam: "0", jwt: "0", mtls: "0" });
  const published = readFileSync(new URL("../../shared/tuf/src/root/published.rs", import.meta.url), "utf8");
  assert.match(published, /const LONGEST_HIDDEN_SECONDS: i64 = 5;/);
});

for (const [mode, props] of Object.entries(VARIANTS)) {
  test(`${mode}: without packs nothing reaches the function pack, and everything else is the same`, () => {
    const made = repository((stack) => ({ ...props(stack), packs: { enabled: false } }));
    assert.equal(made.variables["TUFLINE_PACK_URL"], undefined);
    const [without, pack] = [template(made), functionOf(variants[mode], "pack")[0]];
    const routeKeys = resources(without, "AWS::ApiGatewayV2::Route").map(([, it]) => it.Properties.RouteKey);
    assert.deepEqual(routeKeys.sort(), routes(mode).map(({ RouteKey }) => RouteKey).filter((key) => key !== "GET /pack").sort());
    const others = resources(without, "AWS::Lambda::Permission").filter(([, it]) => JSON.stringify(it).includes(pack));
    assert.deepEqual(others, []);
    assert.deepEqual(Object.keys(without.Resources).filter((id) => !(id in variants[mode].Resources)), []);
  });
}
