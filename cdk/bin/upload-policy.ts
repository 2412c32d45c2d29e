/**
 * Prints the policy of `grantUpload` for a role that no app knows, such as one of another team's.
 *
 *     aws ssm get-parameter --name /tufline/Tufline --query Parameter.Value --output text > tufline.json
 *     npx tsx bin/upload-policy.ts tufline.json [--prefix gateway/] [--encryption-key ARN] > policy.json
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";

import { App, Arn, ArnComponents, ArnFormat, Stack } from "aws-cdk-lib";
import { PolicyDocument } from "aws-cdk-lib/aws-iam";
import { Key } from "aws-cdk-lib/aws-kms";
import { Bucket } from "aws-cdk-lib/aws-s3";
import { StringParameter } from "aws-cdk-lib/aws-ssm";
import { RegionInfo } from "aws-cdk-lib/region-info";

import { uploading } from "../lib/grants.ts";

const USAGE = "npx tsx bin/upload-policy.ts PARAMETER.json [--prefix PREFIX/] [--encryption-key ARN]";

/** The policy, from what the repository's parameter says. */
function policy(parameter: string, prefix: string | undefined, encryptionKeyArn: string | undefined): unknown {
  const variables: Record<string, string> = JSON.parse(readFileSync(parameter, "utf8"));
  const value = (name: string) => {
    return variables[name] ?? fail(`${parameter} has no ${name}: give the value of the parameter /tufline/NAME`);
  };
  const [anyKey] = value("TUFLINE_KEY_TIMESTAMP").split(",");
  const { partition, account, region } = Arn.split(anyKey!, ArnFormat.SLASH_RESOURCE_NAME) as Required<ArnComponents>;
  const stack = new Stack(new App(), "Policy", { env: { account, region } });
  const encryptionKey = encryptionKeyArn && Key.fromKeyArn(stack, "Key", encryptionKeyArn);
  const bucket = (name: string) => {
    return Bucket.fromBucketAttributes(stack, name, { bucketName: value(name), ...(encryptionKey && { encryptionKey }) });
  };
  const resources = {
    uploads: bucket("TUFLINE_UPLOADS_BUCKET"),
    uploadsPrefix: value("TUFLINE_UPLOADS_PREFIX"),
    ledger: bucket("TUFLINE_LEDGER_BUCKET"),
  };
  const itself = StringParameter.fromStringParameterName(stack, "Parameter", `/tufline/${value("TUFLINE_REPOSITORY")}`);
  const statements = uploading(resources, itself, prefix === undefined ? {} : { prefix });
  return literal(stack.resolve(new PolicyDocument({ statements })), {
    "AWS::Partition": partition,
    "AWS::Region": region,
    "AWS::URLSuffix": RegionInfo.get(region).domainSuffix!,
  });
}

/** A part of a template as CloudFormation would fill it in. */
function literal(value: any, known: Record<string, string>): any {
  if (Array.isArray(value)) return value.map((each) => literal(each, known));
  if (typeof value !== "object") return value;
  if (value.Ref) return known[value.Ref];
  if (value["Fn::Join"]) return literal(value["Fn::Join"][1], known).join(value["Fn::Join"][0]);
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, literal(each, known)]));
}

function fail(message: string): never {
  console.error(`upload-policy: ${message}`);
  process.exit(1);
}

try {
  const options = { prefix: { type: "string" }, "encryption-key": { type: "string" } } as const;
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  if (positionals.length !== 1) fail(`usage: ${USAGE}`);
  console.log(JSON.stringify(policy(positionals[0]!, values.prefix, values["encryption-key"]), null, 2));
} catch (error) {
  fail(error instanceof Error ? error.message : String(error));
}
