import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { renderMarkdown } from "../../../src/cli/markdown.ts";
import { documents } from "../../../src/documents/documents.ts";
import { rekernel, root } from "./run.ts";

const unstyled = (_format: unknown, text: string) => text;

describe("rekernel explain", () => {
  test.each(["RK-DATA-CHANGE", "rk-data-change", "data-change"])("%s prints the page", async (code) => {
    const { exitCode, stdout } = await rekernel(["explain", code]);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^RK-DATA-CHANGE/);
    expect(stdout).toMatch(/\nWhat to do\n/);
    for (const line of stdout.split("\n").filter((each) => !each.startsWith("    ")))
      expect(line.length).toBeLessThanOrEqual(80);
  });

  test("prints the row of docs/errors.md for a code without a page", async () => {
    const { stdout } = await rekernel(["explain", "RK-DISK-FULL", "--json"]);
    const document = JSON.parse(stdout);
    documents["rekernel explain (a code)"]!.parse(document);
    expect(document).toMatchObject({
      code: "RK-DISK-FULL",
      hasPage: false,
      text: expect.stringContaining("XDG_CACHE_HOME"),
    });
  });

  test("lists all codes", async () => {
    const { stdout } = await rekernel(["explain", "--json"]);
    const document = JSON.parse(stdout);
    documents["rekernel explain (all codes)"]!.parse(document);
    const pages = readdirSync(join(root, "docs/refusals")).filter((name) => name.startsWith("RK-"));
    expect(
      document.codes
        .filter((each: { hasPage: boolean }) => each.hasPage)
        .map((each: { code: string }) => `${each.code}.md`)
        .sort(),
    ).toEqual(pages.sort());
    expect((await rekernel(["explain"])).stdout).toContain("RK-DATA-CHANGE\n");
  });

  test("a code that there is not: names the near ones", async () => {
    const { exitCode, stderr } = await rekernel(["explain", "RK-SYMBOL-MISSING"]);
    expect(exitCode).toBe(2);
    expect(stderr).toContain("RK-SYMBOL-UNKNOWN");
    expect(stderr).toContain("[RK-USAGE]");
  });
});

describe("Markdown in a terminal", () => {
  test("wraps paragraphs and lists at 80 columns, and keeps code as it is", () => {
    const long = "word ".repeat(30).trim();
    const text = `# Title\n\n${long}\n\n- ${long}\n- second\n\n\`\`\`c\nint x;\n\n\tx = ${"1".repeat(90)};\n\`\`\`\nafter\n`;
    const shown = renderMarkdown(text, unstyled);
    expect(shown).toMatch(/^Title\n\nword/);
    expect(shown).toMatch(
      /\n- word[^\n]*\n {2}word[^\n]*\n- second\n\n {4}int x;\n\n {4}\tx = 1{90};\n\nafter$/,
    );
    for (const line of shown.split("\n").filter((each) => !each.startsWith("    ")))
      expect(line.length).toBeLessThanOrEqual(80);
  });

  test("takes the marks away, and keeps addresses that lead out of the documentation", () => {
    expect(
      renderMarkdown("Use `a_b`, **now**: [errors](errors.md), [docs](https://docs.kernel.org/x).", unstyled),
    ).toBe("Use a_b, now: errors, docs (https://docs.kernel.org/x).");
  });

  test("shows every page", () => {
    for (const name of readdirSync(join(root, "docs/refusals")))
      expect(renderMarkdown(readFileSync(join(root, "docs/refusals", name), "utf8"), unstyled)).not.toMatch(
        /\]\(|```/,
      );
  });
});
