import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { missingModules } from "../../../src/kexec/next-modules.ts";

test("a kernel without modules in the running system is noted", async () => {
  const root = mkdtempSync(join(tmpdir(), "rekernel-unit-"));
  onTestFinished(() => rmSync(root, { recursive: true }));
  const folder = join(root, "lib/modules/6.12.1-next");
  expect(await missingModules("6.12.1-next", root)).toMatch(/no modules for 6\.12\.1-next .*6\.12\.1-next\)/);
  mkdirSync(folder, { recursive: true });
  expect(await missingModules("6.12.1-next", root)).toMatch(/run depmod 6\.12\.1-next/);
  writeFileSync(join(folder, "modules.dep"), "");
  expect(await missingModules("6.12.1-next", root)).toBeUndefined();
});

test("a release that is none looks nowhere", async () => {
  for (const release of ["..", "../../etc", "a/b", ".hidden", "a\0b", ""])
    expect(await missingModules(release, "/nonexistent")).toBeUndefined();
});
