// Prints how tuf-js reads documents. Reads one a line, `{"kind", "text", "trusted"}`, and answers
// each with a line: the canonical form of what it read, whether that verifies under the trusted
// root (a root also under itself), and what it says about keys and targets. `null` if it can't read
// the document.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const ofTufJs = createRequire(createRequire(import.meta.url).resolve("tuf-js"));
const { Metadata } = ofTufJs("@tufjs/models");
const { canonicalize } = ofTufJs("@tufjs/canonical-json");

const known = (role, keys) => role.keyIDs.filter((id) => Object.hasOwn(keys, id)).length;

const said = {
  root: ({ roles, keys }) => ({ keys: Object.fromEntries(Object.entries(roles).map(([name, role]) => [name, known(role, keys)])) }),
  targets: ({ targets, delegations }) => ({
    digests: Object.fromEntries(Object.entries(targets).map(([name, target]) => [name, target.hashes.sha256])),
    roles: Object.values(delegations?.roles ?? {}).map((role) => [role.name, known(role, delegations.keys)]),
  }),
};

function read({ kind, text, trusted }) {
  let document, form;
  try {
    document = Metadata.fromJSON(kind, JSON.parse(text));
    form = Buffer.from(canonicalize(document.signed.toJSON())).toString("hex");
  } catch {
    return null;
  }
  const judges = [Metadata.fromJSON("root", JSON.parse(trusted)), ...(kind === "root" ? [document] : [])];
  const verifies = judges.every((judge) => {
    try {
      judge.verifyDelegate(kind, document);
      return true;
    } catch {
      return false;
    }
  });
  return { form, verifies, says: said[kind](document.signed) };
}

for await (const line of createInterface({ input: process.stdin })) console.log(JSON.stringify(read(JSON.parse(line))));
