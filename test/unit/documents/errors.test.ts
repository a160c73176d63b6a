import { readFileSync } from "node:fs";
import { glob } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { root } from "../cli/run.ts";

test("docs/errors.md lists every error code that the sources use, and no other", async () => {
  const used = new Set<string>();
  for await (const path of glob("{src,demo}/**/*.ts", { cwd: root }))
    for (const [, code] of readFileSync(join(root, path), "utf8").matchAll(
      /["'`](RK-[A-Z0-9]+(?:-[A-Z0-9]+)*)["'`]/g,
    ))
      used.add(code!);
  const guide = readFileSync(join(root, "docs/errors.md"), "utf8");
  const listed = [...guide.matchAll(/^\| (RK-[A-Z0-9-]+) \|/gm)].map(([, code]) => code!);
  expect(new Set(listed).size, "a code is listed twice").toBe(listed.length);
  expect(listed.sort()).toEqual([...used].sort());
});
