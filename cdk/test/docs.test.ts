import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

/** The lines of the shell's blocks in a page. */
function commands(page: string): string[] {
  const text = readFileSync(new URL(`../../docs/${page}`, import.meta.url), "utf8");
  return [...text.matchAll(/^```sh\n(.*?)^```$/gms)].flatMap(([, block]) => block!.trimEnd().split("\n"));
}

/**
 * What zsh takes otherwise than bash, on a line that is pasted: comments are words, a pattern that nothing matches is an error, and an unquoted
 * variable is one word (<https://zsh.sourceforge.io/Doc/Release/Options.html>: INTERACTIVE_COMMENTS, NOMATCH, SH_WORD_SPLIT).
 */
function differs(line: string): string | undefined {
  const unquoted = line.replace(/'[^']*'|"[^"]*"/g, "");
  if (/(^|\s)#/.test(unquoted)) return "a comment";
  if (/[?*[\]]/.test(unquoted.replace(/^[A-Z]+=\(.*\)$/, ""))) return "a pattern";
  // But for what is one word, as a path is.
  if (/(^|\s)\$\w+(\s|$)/.test(unquoted)) return "a variable that bash splits";
  return undefined;
}

test("the commands of the deployment can be pasted into bash and zsh", () => {
  const lines = ["deploy.md", "devices.md"].flatMap(commands);
  assert.ok(lines.length > 20, `${lines.length}`);
  for (const line of lines) assert.equal(differs(line), undefined, line);
});

test("what the shells take differently is found", () => {
  const bad = ["npx cdk deploy  # now", "# now", "ls *.json", "curl https://x/?a", "echo $CHOICES", "npx cdk $CHOICES -v", "test [ a ]"];
  for (const line of bad) assert.ok(differs(line), line);
  const good = ["npx cdk deploy \"${CHOICES[@]}\"", "CHOICES=(-c a=b)", "export PATH=$PWD/x:$PATH", "tufline --paths 'x/*'"];
  for (const line of good) assert.equal(differs(line), undefined, line);
});
