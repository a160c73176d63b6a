import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { missingEntries } from "../../../scripts/complete-lock.ts";
import { root } from "../cli/run.ts";

test("package-lock.json names every platform's packages, or npm ci would refuse it", () => {
  const lock = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8"));
  expect(missingEntries(lock), "run: node scripts/complete-lock.ts").toEqual({});
});

test("a missing platform package gets the entry that npm would write", () => {
  const packages = {
    "node_modules/tool": {
      dev: true,
      optionalDependencies: { "@tool/linux-x64-musl": "1.2.3", "tool-win32-arm64": "1.2.3" },
    },
    "node_modules/tool-win32-arm64": {},
  };
  expect(missingEntries({ packages })).toEqual({
    "node_modules/@tool/linux-x64-musl": {
      version: "1.2.3",
      cpu: ["x64"],
      dev: true,
      libc: ["musl"],
      optional: true,
      os: ["linux"],
    },
  });
});
