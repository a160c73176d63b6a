import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ModuleFiles } from "../../../src/kernel/module-files.ts";

const release = "6.99.0-test";
let folder: string;

/** The least that makes a module: its description. */
function makeModule(path: string, vermagic: string, content = 1): string {
  const full = join(folder, path);
  mkdirSync(dirname(full), { recursive: true });
  const source = join(folder, "module.c");
  writeFileSync(
    source,
    `__attribute__((section(".modinfo"), used)) static const char info[] =
"vermagic=${vermagic} SMP\\0srcversion=${content}\\0name=${path.split("/").at(-1)!.replace(".ko", "").replaceAll("-", "_")}";
int content = ${content};\n`,
  );
  execFileSync("gcc", ["-c", source, "-o", full, "-fno-PIE"]);
  return full;
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "rekernel-test-"));
  makeModule("modules/kernel/drivers/stock.ko", release);
  writeFileSync(join(folder, "modules/modules.order"), "kernel/drivers/stock.ko\nkernel/drivers/both.ko\n");
});
afterAll(() => rmSync(folder, { recursive: true }));

const files = (more: Partial<ConstructorParameters<typeof ModuleFiles>[0]> = {}) =>
  new ModuleFiles({ release, modules: join(folder, "modules"), ...more });

test("the kernel's own modules are found by modules.order, others in the folders beside", async () => {
  const updated = makeModule("modules/updates/dkms/gadget-two.ko", release);
  expect((await files().find("stock"))?.path).toBe(join(folder, "modules/kernel/drivers/stock.ko"));
  expect((await files().find("gadget_two"))?.path).toBe(updated);
  expect(await files().find("nothing")).toBeUndefined();
  expect(files().isOwn(join(folder, "modules/kernel/drivers/stock.ko"))).toBe(true);
  expect(files().isOwn(updated)).toBe(false);
});

test("a module of a source given is not taken from the kernel's own", async () => {
  makeModule("modules/kernel/drivers/both.ko", release);
  const built = makeModule("source/sub/both.ko", release);
  const sources = [{ folder: join(folder, "source"), modules: ["both"] }];
  expect((await files({ sources }).find("both"))?.path).toBe(built);
  expect((await files().find("both"))?.path).toBe(join(folder, "modules/kernel/drivers/both.ko"));
});

test("two copies of one build are one", async () => {
  const sources = [{ folder: join(folder, "source-2"), modules: ["copied"] }];
  const copied = makeModule("source-2/copied.ko", release);
  cpSync(copied, join(folder, "modules/updates/copied.ko"));
  expect((await files({ sources }).find("copied"))?.path).toBe(copied);
});

test("modules of other kernels are passed over", async () => {
  const sources = [{ folder: join(folder, "source-3"), modules: ["old"] }];
  makeModule("source-3/5.0/old.ko", "5.0.0");
  const fitting = makeModule("source-3/6.99/old.ko", release);
  expect((await files({ sources }).find("old"))?.path).toBe(fitting);
});
