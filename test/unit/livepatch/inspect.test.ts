import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readElf } from "../../../src/formats/elf/read.ts";
import { patchedObjects } from "../../../src/livepatch/inspect.ts";

/** An object with the tables of a live patch: by object, the functions that it replaces. */
function tables(objects: readonly (readonly [object: string | undefined, functions: readonly string[]])[]) {
  const names = objects.flatMap(([, functions]) => functions);
  const source = `
struct klp_func { const char *old_name; void *new_func; unsigned long old_sympos; char internal[64]; };
struct klp_object { const char *name; struct klp_func *funcs; char internal[96]; };
${[...new Set(names)].map((name) => `void new_${name}(void) {}`).join("\n")}
${objects.map(([, functions], i) => `static struct klp_func functions_${i}[] = { ${functions.map((name, at) => `{ "${name}", new_${name}, ${at} }, `).join("")}{ } };`).join("\n")}
struct klp_object objects[] = { ${objects.map(([object], i) => `{ ${object === undefined ? "0" : `"${object}"`}, functions_${i} }, `).join("")}{ } };
`;
  const folder = mkdtempSync(join(tmpdir(), "rekernel-test-"));
  try {
    writeFileSync(join(folder, "tables.c"), source);
    execFileSync("gcc", ["-O1", "-fno-PIE", "-mcmodel=kernel", "-c", "tables.c"], { cwd: folder });
    return patchedObjects(readElf(readFileSync(join(folder, "tables.o"))));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test.each([
  [[[undefined, ["a"]]]],
  [[[undefined, ["a", "b", "c"]]]],
  [
    [
      ["one", ["a"]],
      ["two", ["b"]],
      ["three", ["a"]],
      ["four", ["c"]],
    ],
  ],
  [
    [
      [undefined, ["a"]],
      ["one", ["b", "c"]],
      ["two", ["a"]],
      ["three", ["a", "b", "c"]],
    ],
  ],
] as const)("objects and their functions are read out of a module's tables: %j", (objects) => {
  const found = tables(objects as Parameters<typeof tables>[0]);
  expect(
    found.map(({ object, functions }) => [object, functions.map(({ name, sympos }) => `${name} ${sympos}`)]),
  ).toEqual(
    objects.map(([object, functions]) => [object ?? "vmlinux", functions.map((name, at) => `${name} ${at}`)]),
  );
});
