/** Reads `tests/e2e/permissions.json`. */
import { readFileSync } from "node:fs";

/**
 * The rights of every function, listed by hand, each with a situation that needs it. The list is
 * the contract: a function may have no other right. The end-to-end tests judge a deployment's roles
 * by the same list, and find rights that nothing needs.
 */
export const LISTS: {
  proven: Record<string, Record<string, string[]>>;
  unproven: { permissions: Record<string, string[]> }[];
  never: Record<string, string[]>;
} = JSON.parse(readFileSync(new URL("../../tests/e2e/permissions.json", import.meta.url), "utf8"));

/** The queue that invokes each function. */
const WAKES: Record<string, string> = {
  hash: "uploads",
  large: "large",
  rebuild: "changes",
  sign: "sign",
  publish: "publish",
  chunk: "chunk",
};

/** Translates a right from the list's form into the template's. */
export function inTemplate(right: string): string {
  const [, action, kind, name] = right.match(/^(\S+) (\w+)(.*)$/)!;
  const titled = (text: string) => `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
  switch (kind) {
    case "queue":
      return `${action} ${titled(name!.slice(1)).replace(/-dlq$|$/, (end) => (end ? "DeadLetters" : "Queue"))}`;
    case "log":
      return `${action} ${titled(name!.slice(1))}Log`;
    case "bus":
      return `${action} Events`;
    default:
      return `${action} ${titled(kind!)}${name}`;
  }
}

/** All rights of a function, according to the list. */
export function listed(stage: string): string[] {
  const unproven = LISTS.unproven.flatMap(({ permissions }) => {
    const of = Object.entries(permissions).filter(([, stages]) => stages.includes(stage));
    return of.map(([right]) => right.replace("{stage}", stage).replace("{queue}", WAKES[stage] ?? "?"));
  });
  return [...Object.values(LISTS.proven[stage]!).flat(), ...unproven];
}
