/** What a repository is called. */
import { Stack, Token } from "aws-cdk-lib";
import { Construct } from "constructs";

import { refuse } from "./refusal.ts";

/** A function's name has 64 characters at most, and the longest stage has 7 and a hyphen. */
const LONGEST = 56;

/** The prefix of all names, or an error where AWS would refuse one of them. */
export function repositoryName(scope: Construct, chosen: string | undefined): string {
  const name = chosen ?? Stack.of(scope).stackName;
  const instead = `give name letters, digits and hyphens, a letter first, ${LONGEST} at most`;
  if (Token.isUnresolved(name)) {
    refuse("name", "only known at deployment", "queues and functions are named by it", instead);
  }
  if (!/^[A-Za-z][A-Za-z0-9-]*$/.test(name) || name.length > LONGEST) {
    refuse("name", `'${name}'`, "queues and functions can't be named by it", instead);
  }
  return name;
}

/** `timestamp` → `Timestamp`, as the ids of constructs have it. */
export function capitalized(name: string): string {
  return name.charAt(0).toUpperCase() + name.slice(1);
}

/** A record of what `make` makes of each name. */
export function record<K extends string, V>(names: readonly K[], make: (name: K) => V): Record<K, V> {
  return Object.fromEntries(names.map((name) => [name, make(name)])) as Record<K, V>;
}
