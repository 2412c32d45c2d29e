/**
 * Tells cdk-nag why a resource with a wildcard is intended. cdk-nag needs an acknowledgement for
 * each one.
 */
import { Stack, Validations } from "aws-cdk-lib";
import { PolicyStatement } from "aws-cdk-lib/aws-iam";
import { Construct } from "constructs";

/**
 * Acknowledges each resource with a wildcard that `statements` allow. Actions with a wildcard are
 * never intended.
 */
export function acknowledgeWildcards(construct: Construct, statements: PolicyStatement[], reason: string): void {
  const stack = Stack.of(construct);
  const resources = statements.flatMap((statement) => [stack.resolve(statement.toStatementJson()).Resource].flat());
  const wildcards = new Set(resources.map(flat).filter((resource) => resource.includes("*")));
  for (const resource of wildcards) {
    Validations.of(construct).acknowledge({ id: `AwsSolutions-IAM5[Resource::${resource}]`, reason });
  }
}

/**
 * A value of a template as cdk-nag writes it: `<LogicalId.Arn>/metadata/*`. cdk-nag treats policy
 * variables like CloudFormation's.
 */
function flat(value: any): string {
  if (typeof value === "string") return value.replace(/\$\{([^}]*)\}/g, "<$1>");
  if (value.Ref) return `<${value.Ref}>`;
  if (value["Fn::GetAtt"]) return `<${value["Fn::GetAtt"].join(".")}>`;
  if (value["Fn::Join"]) return value["Fn::Join"][1].map(flat).join(value["Fn::Join"][0]);
  return JSON.stringify(value);
}
