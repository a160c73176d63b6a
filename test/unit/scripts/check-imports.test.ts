import { expect, test } from "vitest";
import { findBreaches } from "../../../scripts/check-imports.ts";

function breaches(files: Record<string, string>): string[] {
  return findBreaches(new Map(Object.entries(files)));
}

test("imports that point down pass", () => {
  expect(
    breaches({
      "src/cli/patch-build.ts": `import type { Plan } from "../livepatch/build/build.ts"; await import("../livepatch/build/build.ts");`,
      "src/livepatch/build/build.ts": `import { x } from "../../kernel/image.ts"; export * from "../../formats/bytes.ts";`,
      "src/kernel/image.ts": `import { open } from "node:fs/promises"; import { y } from "../core/files.ts";`,
      "src/index.ts": `export { x } from "./livepatch/build/build.ts";`,
    }),
  ).toEqual([]);
});

test.each([
  ["src/formats/elf.ts", `import { x } from "../kernel/image.ts"`, "imports point down"],
  ["src/formats/elf.ts", `import type { X } from "../kernel/image.ts"`, "imports point down"],
  ["src/formats/elf.ts", `export * from "../kernel/image.ts"`, "imports point down"],
  ["src/formats/elf.ts", `const x = await import("../kernel/image.ts")`, "imports point down"],
  ["src/kernel/a.ts", `import { x } from "../host/b.ts"`, "imports point down"],
  ["src/host/a.ts", `import { x } from "../kernel/b.ts"`, "imports point down"],
  ["src/livepatch/manage/a.ts", `import { x } from "../../kexec/b.ts"`, "imports point down"],
  ["src/kexec/a.ts", `import { x } from "../livepatch/b.ts"`, "imports point down"],
  ["src/lab/a.ts", `import { x } from "../cli/b.ts"`, "imports point down"],
  [
    "src/livepatch/build/a.ts",
    `import { x } from "../../host/b.ts"`,
    "does not depend on the running kernel",
  ],
  ["src/formats/a.ts", `import { readFileSync } from "node:fs"`, "is pure"],
  ["src/kernel/a.ts", `import { dlopen } from "node:ffi"`, "only src/host uses node:ffi"],
  ["src/kernel/a.ts", `import { x } from "../../scripts/a.ts"`, "outside src"],
  ["src/attic/a.ts", `import { x } from "../core/a.ts"`, "not in the floor plan"],
  ["src/kernel/a.ts", `console.log("x")`, "only src/cli prints"],
  ["src/kernel/a.ts", `function f() { process.stdout.write("x") }`, "only src/cli talks"],
  ["src/kernel/a.ts", `export const x = process.argv[2]`, "only src/cli talks"],
  ["src/cli/main.ts", `import { x } from "../kernel/a.ts"`, "import it inside the action"],
  ["src/cli/main.ts", `import { z } from "zod"`, "import it inside the action"],
  ["src/kernel/a.ts", `import { from`, "kernel/a.ts"],
])("%s with %s is a breach", (path, source, reason) => {
  expect(breaches({ [path]: source })).toEqual([expect.stringContaining(reason)]);
});

test("what the command line loads at its start is followed through its files", () => {
  expect(
    breaches({
      "src/cli/main.ts": `import { r } from "./image-info.ts"`,
      "src/cli/image-info.ts": `import { x } from "../kernel/image.ts"`,
      "src/cli/unused.ts": `import { x } from "../kernel/image.ts"`,
    }),
  ).toEqual([expect.stringContaining("src/cli/image-info.ts: it imports ../kernel/image.ts when")]);
});
