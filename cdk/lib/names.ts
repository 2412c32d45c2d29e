/** The names of a repository and its resources. */
import { Stack, Token } from "aws-cdk-lib";
import { Construct } from "constructs";

import { refuse } from "./refusal.ts";

/**
 * The operators' policy names all queues and functions, and IAM takes 6,144 characters
 * (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>). With this name
 * and two keys for each role it has some to spare.
 */
const LONGEST = 32;

/** The prefix of all names. Refuses a name that AWS would refuse. */
export function repositoryName(scope: Construct, chosen: string | undefined): string {
  const name = chosen ?? Stack.of(scope).stackName;
  const instead = `give name letters, digits and hyphens, a letter first, ${LONGEST} at most`;
  if (Token.isUnresolved(name)) {
    refuse("name", "only known at deployment", "the names of queues and functions begin with it", instead);
  }
  if (!/^[A-Za-z][A-Za-z0-9-]*$/.test(name) || name.length > LONGEST) {
    refuse("name", `'${name}'`, "AWS doesn't allow it in the names of queues and functions", instead);
  }
  return name;
}

/** `timestamp` → `Timestamp`, as in the ids of constructs. */
export function capitalized(name: string): string {
  return name.charAt(0).toUpperCase() + name.slice(1);
}

/** A record with `make(name)` for each name. */
export function record<K extends string, V>(names: readonly K[], make: (name: K) => V): Record<K, V> {
  return Object.fromEntries(names.map((name) => [name, make(name)])) as Record<K, V>;
}
