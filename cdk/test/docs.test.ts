import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

const ROOT = new URL("../../", import.meta.url);
const PAGES = [
  "README.md",
  "ARCHITECTURE.md",
  "CHANGELOG.md",
  "CONTRIBUTING.md",
  "SECURITY.md",
  "cdk/README.md",
  "examples/README.md",
  "examples/cdk-two-repositories/README.md",
  "tests/emulator.md",
  ...readdirSync(new URL("docs/", ROOT), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".md"))
    .map((page) => `docs/${page}`),
];

/** A page's blocks of code, and the text around them. */
function parts(text: string): { blocks: { language: string; lines: string[] }[]; prose: string } {
  const block = /^ *```(.*)\n([^]*?)^ *```$/gm;
  const blocks = [...text.matchAll(block)].map(([, language, code]) => ({
    language: language!,
    // A line that ends in a backslash continues in the next line.
    lines: code!.trimEnd().replaceAll("\\\n", " ").split("\n"),
  }));
  return { blocks, prose: text.replaceAll(block, "") };
}

function read(page: string): ReturnType<typeof parts> {
  return parts(readFileSync(new URL(page, ROOT), "utf8"));
}

/**
 * Why bash and zsh treat a pasted line differently. In zsh, comments are words, a pattern without a
 * match is an error, `=ls` is the path of `ls`, an unquoted variable is one word, and `$A:e` is the
 * extension of `$A`, even in double quotes (<https://zsh.sourceforge.io/Doc/Release/Options.html>:
 * INTERACTIVE_COMMENTS, NOMATCH, EQUALS, SH_WORD_SPLIT;
 * <https://zsh.sourceforge.io/Doc/Release/Expansion.html#Modifiers>).
 */
function differs(line: string): string | undefined {
  const unquoted = line.replace(/'[^']*'|"[^"]*"/g, "");
  if (/(^|\s)#/.test(unquoted)) return "a comment";
  if (/['"]/.test(unquoted)) return "a quote that isn't closed";
  if (/[?*[\]]/.test(unquoted.replace(/^[A-Z]+=\(.*\)$/, ""))) return "a pattern";
  if (/(^|\s)=\S/.test(unquoted)) return "a command's place";
  if (/\$\w+:[a-zA-Z]/.test(line.replace(/'[^']*'/g, ""))) return "a modifier of a variable";
  // Except a variable that is part of a word, such as a path.
  if (/(^|\s)\$\w+(\s|$)/.test(unquoted)) return "a variable that bash splits";
  if (/…|<[\w-]+>/.test(unquoted)) return "something left out";
  return undefined;
}

test("the commands on all pages can be pasted into bash and zsh", () => {
  let seen = 0;
  for (const page of PAGES) {
    for (const { language, lines } of read(page).blocks) {
      // One name for all shells, so that this test sees every block.
      assert.doesNotMatch(language, /^(bash|console|shell|shell-session|terminal|zsh)/, `${page}: call it sh`);
      if (language !== "sh") continue;
      seen += lines.length;
      for (const line of lines) assert.equal(differs(line), undefined, `${page}: ${line}`);
    }
  }
  assert.ok(seen > 80, `${seen}`);
});

test("no command is outside such a block", () => {
  for (const page of PAGES) {
    // Code by indentation: four spaces after an empty line.
    assert.doesNotMatch(read(page).prose, /^\n {4}\S.*/m, page);
  }
});

test("differences between the shells are found", () => {
  const bad = [
    "npx cdk deploy  # now",
    "# now",
    "ls *.json",
    "curl https://x/?a",
    "echo $CHOICES",
    "npx cdk $CHOICES -v",
    "test [ a ]",
    "echo =ls",
    "echo it's",
    'echo "a:$AWS_REGION:execute-api"',
    "npx cdk deploy … -v",
    "cat <name>",
  ];
  for (const line of bad) assert.ok(differs(line), line);
  const good = [
    'npx cdk deploy "${CHOICES[@]}"',
    "CHOICES=(-c a=b)",
    "export PATH=$PWD/x:$PATH",
    "tufline --paths 'x/*'",
    "x --key a=b > c.json",
    'echo "a:${AWS_REGION}:execute-api" \'$A:e\' "$A:$B"',
  ];
  for (const line of good) assert.equal(differs(line), undefined, line);
  const { blocks, prose } = parts("a\n```sh\nb \\\n  c\nd\n```\ne\n");
  assert.deepEqual(blocks, [{ language: "sh", lines: ["b    c", "d"] }]);
  assert.equal(prose, "a\n\ne\n");
});
