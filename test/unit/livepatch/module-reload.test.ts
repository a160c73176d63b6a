import { expect, test } from "vitest";
import { reloadCautions } from "../../../src/livepatch/build/cautions/module-reload.ts";
import type { KlpBinding } from "../../../src/livepatch/build/module/resolve.ts";

const binding = (relocatedFor: string): KlpBinding => ({
  kind: "klp",
  relocatedFor,
  object: relocatedFor,
  name: "x",
  sympos: 0,
});

test("modules with references of livepatch's cannot be loaded twice before Linux 6.3", () => {
  const bindings = ["tun", "vmlinux", "dummy", "tun"].map(binding);
  expect(reloadCautions(bindings, true)).toEqual([]);
  expect(reloadCautions([binding("vmlinux")], false)).toEqual([]);
  expect(reloadCautions(bindings, false)).toMatchObject([
    { code: "RK-CAUTION-MODULE-RELOAD", message: expect.stringContaining("the module dummy once") },
    { code: "RK-CAUTION-MODULE-RELOAD", message: expect.stringContaining("the module tun once") },
  ]);
});
