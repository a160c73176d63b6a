import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { parsePatch } from "../../../src/livepatch/build/source/patch.ts";
import { applyPatches, makePatchedTree } from "../../../src/livepatch/build/source/patched-tree.ts";
import type { KernelTrees } from "../../../src/livepatch/build/source/trees.ts";
import { compileUnits } from "../../../src/livepatch/build/units/compile.ts";
import type { Unit } from "../../../src/livepatch/build/units/units.ts";

const folder = mkdtempSync(join(tmpdir(), "rekernel-test-"));
afterAll(() => rmSync(folder, { recursive: true }));

const sources = {
  "include/limits.h": `#define SMALL 1
#define LARGE 10
static inline int line_of_header(void) { return __LINE__; }
`,
  "include/deep.h": `#include <limits.h>\n`,
  "drivers/reached.c": `#include <deep.h>\nint reached(void) { return LARGE; }\n`,
  "drivers/aside.c": `#include "../include/limits.h"\nint aside(void) { return SMALL + line_of_header(); }\n`,
  "drivers/pasting.c": `#include <limits.h>
#define MAKE(x) LAR##x
int pasting(void) { return MAKE(GE); }
`,
  "drivers/asking.c": `#include <deep.h>
#if 1 && \\
	LATER
int asking(void) { return 1; }
#endif
int other(void) { return sizeof("LARGE"); }
`,
  "drivers/stranger.c": `int stranger(void) { return 3; }\n`,
  // So many that the text of the sources is asked before the compiler is.
  ...Object.fromEntries(
    ["one", "two", "three", "four", "five"].map((name) => [
      `drivers/${name}.c`,
      `#include <deep.h>\nint ${name}(void) { return 0; }\n`,
    ]),
  ),
};

const trees: KernelTrees = {
  release: "6.0.0",
  pristine: join(folder, "source"),
  kernel: join(folder, "source"),
  modules: [],
  localVersion: "",
  makeArgs: [],
  store: join(folder, "store"),
  environment: {},
  lock: join(folder, "lock"),
};
for (const [path, text] of Object.entries(sources)) {
  mkdirSync(join(trees.pristine, path, ".."), { recursive: true });
  writeFileSync(join(trees.pristine, path), text);
}

const unit = (source: string): Unit => ({
  source,
  input: source,
  enabled: true,
  owner: { kind: "vmlinux" },
  modfile: source,
  command: ["gcc", "-O2", "-Iinclude"],
});
const units = Object.keys(sources)
  .filter((source) => source.endsWith(".c"))
  .map(unit);

async function compiled(...patches: string[]): Promise<string[]> {
  const touched = await applyPatches(
    trees,
    patches.map((patch) => parsePatch(patch)),
  );
  await using tree = await makePatchedTree(trees, touched);
  return (await compileUnits(trees, tree, units)).map(({ source }) => source);
}

test("a header's change is compiled where it changes what the compiler sees", async () => {
  const header = `--- a/include/limits.h
+++ b/include/limits.h
@@ -1,3 +1,4 @@
 #define SMALL 1
-#define LARGE 10
+/* as the device has it */
+#define LARGE 12
 static inline int line_of_header(void) { return __LINE__; }
`;
  expect(await compiled(header)).toEqual(["drivers/reached.c", "drivers/pasting.c"]);
});

test("a new macro is compiled where an #if asks for it, or its name means something else", async () => {
  const header = (macro: string) => `--- a/include/limits.h
+++ b/include/limits.h
@@ -1,2 +1,3 @@
 #define SMALL 1
 #define LARGE 10
+#define ${macro}
`;
  expect(await compiled(header("LATER 3"))).toEqual(["drivers/asking.c"]);
  expect(await compiled(header("reached renamed"))).toEqual(["drivers/reached.c"]);
  expect(await compiled(header("NOWHERE 3"))).toEqual([]);
});

test("a header's change is not compiled where nothing that makes code uses it", async () => {
  const header = `--- a/include/limits.h
+++ b/include/limits.h
@@ -1,3 +1,4 @@
 #define SMALL 1
 #define LARGE 10
-static inline int line_of_header(void) { return __LINE__; }
+int declared(void);
+static inline int line_of_header(void) { return __LINE__ + 1; }
`;
  expect(await compiled(header)).toEqual(["drivers/aside.c"]);
});

test("a unit that a new header in another folder reaches is compiled", async () => {
  const created = `--- /dev/null
+++ b/drivers/deep.h
@@ -0,0 +1 @@
+#define LARGE 11
--- a/drivers/reached.c
+++ b/drivers/reached.c
@@ -1,2 +1,2 @@
-#include <deep.h>
+#include "deep.h"
 int reached(void) { return LARGE; }
`;
  expect(await compiled(created)).toEqual(["drivers/reached.c"]);
});

test("a unit of the patch itself is compiled, whatever changes in it", async () => {
  const comment = `--- a/drivers/stranger.c
+++ b/drivers/stranger.c
@@ -1 +1,2 @@
+/* nothing */
 int stranger(void) { return 3; }
`;
  expect(await compiled(comment)).toEqual(["drivers/stranger.c"]);
});

test("patches are applied one after the other", async () => {
  const step = (before: number, after: number) => `--- a/include/limits.h
+++ b/include/limits.h
@@ -1,2 +1,2 @@
 #define SMALL 1
-#define LARGE ${before}
+#define LARGE ${after}
`;
  const [there, on, back] = [step(10, 11), step(11, 12), step(12, 10)];
  expect(await compiled(there, on)).toEqual(["drivers/reached.c", "drivers/pasting.c"]);
  await expect(compiled(there, on, back)).rejects.toMatchObject({ code: "RK-NO-FUNCTIONAL-CHANGE" });
  await expect(compiled(on, there)).rejects.toMatchObject({ code: "RK-PATCH-DOES-NOT-APPLY" });
});
