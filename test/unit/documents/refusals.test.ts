import { readdirSync, readFileSync } from "node:fs";
import { glob } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { root } from "../cli/run.ts";

const read = (path: string) => readFileSync(join(root, path), "utf8");
const pages = readdirSync(join(root, "docs/refusals")).filter((name) => name.startsWith("RK-"));

async function sourcesOf(pattern: string): Promise<string> {
  const texts: string[] = [];
  for await (const path of glob(pattern, { cwd: root })) texts.push(read(path));
  return texts.join("\n");
}

/** Codes that the live patch part refuses with: thrown as such, or found as a problem of a change. */
async function refusalCodes(): Promise<string[]> {
  const source = await sourcesOf("src/{livepatch,kernel}/**/*.ts");
  const code = `"(RK-(?!CAUTION-)[A-Z-]+)"`;
  const forms = [
    `"refused",\\s*${code}`,
    `kind: "refused",\\s*code: ${code}`,
    `refused\\(\\s*${code}`,
    // A Problem: the members of finding.ts, in their order.
    `(?<!kind: "\\w+",\\s*)code: ${code},\\s*message:`,
    `#refuse\\([^;]*?${code}`,
    `problem\\([^;]*?${code}`,
  ];
  const found = forms.flatMap((form) => [...source.matchAll(new RegExp(form, "g"))].map(([, name]) => name!));
  return [...new Set(found)].sort();
}

test("the guide to error codes calls refusals those that the sources refuse with", async () => {
  const listed = [...read("docs/errors.md").matchAll(/^\| (RK-[A-Z-]+) \| ([0-9, ]+) \|/gm)]
    .filter(([, , exits]) => exits!.split(", ").includes("4"))
    .map(([, name]) => name!);
  const others: string[] = (await sourcesOf("src/{kexec,lab,cli}/**/*.ts")).match(/RK-[A-Z-]+/g) ?? [];
  const codes = await refusalCodes();
  expect(codes.filter((name) => !listed.includes(name))).toEqual([]);
  expect(listed.filter((name) => !codes.includes(name) && !others.includes(name))).toEqual([]);
});

test("every refusal has a page, and every page a refusal", async () => {
  expect(pages.map((name) => name.replace(".md", "")).sort()).toEqual(await refusalCodes());
});

test.each(pages)("docs/refusals/%s has all its parts, and is linked", (name) => {
  const code = name.replace(".md", "");
  const text = read(`docs/refusals/${name}`);
  expect(text.match(/^#+ .*$/gm)!.slice(0, 5)).toEqual([
    `# ${code}`,
    "## What it means",
    "## Why",
    "## Example",
    "## What to do",
  ]);
  expect(text, "the example shows the message").toMatch(new RegExp(`\`\`\`text\\n[^\`]*${code}`));
  expect(read("docs/refusals/README.md")).toContain(`](${name})`);
  expect(read("docs/errors.md")).toContain(`](refusals/${name})`);
});

test("every refusal is provoked by a test", async () => {
  // The pages' own examples are built by test/vm/refusals.test.ts.
  const built = pages.filter((name) => /```diff/.test(read(`docs/refusals/${name}`)));
  const tests = (await sourcesOf("test/{unit/livepatch,unit/kernel,vm}/**/*.test.ts")) + built.join(" ");
  expect((await refusalCodes()).filter((code) => !tests.includes(code))).toEqual([]);
});
