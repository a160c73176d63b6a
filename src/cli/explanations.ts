/** What the documentation says about error codes: docs/refusals/CODE.md, else the code's row in docs/errors.md. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { getAsset, isSea } from "node:sea";
import { hasErrno, RekernelError } from "../core/errors.ts";
import type { Explanation } from "../documents/explain.ts";

/** The single executable carries the pages by their paths below docs (scripts/build-executable.ts). */
function page(path: string): string | undefined {
  try {
    if (isSea()) return getAsset(path, "utf8");
    return readFileSync(join(import.meta.dirname, "..", "..", "docs", path), "utf8");
  } catch (error) {
    if (
      hasErrno(error) &&
      (error.code === "ENOENT" || error.code === "ERR_SINGLE_EXECUTABLE_APPLICATION_ASSET_NOT_FOUND")
    )
      return undefined;
    throw error;
  }
}

/** Rows of docs/errors.md by their codes, in its order. */
function rows(): Map<string, { happened: string; advice: string }> {
  const found = new Map<string, { happened: string; advice: string }>();
  for (const line of (page("errors.md") ?? "").split("\n")) {
    const cells = /^\| \[?(RK-[A-Z0-9-]+)(?:\]\([^)]*\))? \|[^|]*\| (.*?) \| ?(.*?) ?\|$/.exec(line);
    if (cells) found.set(cells[1]!, { happened: cells[2]!, advice: cells[3]! });
  }
  return found;
}

/** Every code, with what it means in one line. */
export function explanations(): Omit<Explanation, "text">[] {
  return [...rows()].map(([code, { happened }]) => ({
    code,
    title: happened,
    hasPage: page(`refusals/${code}.md`) !== undefined,
  }));
}

/**
 * @param wanted a code in any spelling that a person may type: `rk-data-change`, `DATA-CHANGE`
 * @throws RekernelError RK-USAGE (2) where there is no such code
 */
export function explain(wanted: string): Explanation {
  const known = rows();
  const upper = wanted.toUpperCase();
  const code = upper.startsWith("RK-") ? upper : `RK-${upper}`;
  const row = known.get(code);
  if (!row) {
    const words = code.split("-").slice(1);
    const near = [...known.keys()].filter((name) =>
      words.some((word) => word.length > 2 && name.includes(word)),
    );
    throw new RekernelError("usage", "RK-USAGE", `There is no error code ${code}.`, {
      hint:
        near.length > 0
          ? `There are ${near.slice(0, 8).join(", ")}.`
          : "rekernel explain, without a code, lists them all.",
    });
  }
  const text = page(`refusals/${code}.md`);
  return {
    code,
    title: row.happened,
    text:
      text ??
      `# ${code}\n\n${row.happened}\n${row.advice === "" ? "" : `\n## What to do\n\n${row.advice}\n`}`,
    hasPage: text !== undefined,
  };
}
