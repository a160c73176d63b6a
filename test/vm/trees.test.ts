import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { readElf } from "../../src/formats/elf/read.ts";
import { KernelModuleFile } from "../../src/kernel/module.ts";
import { nearestReleases, targetKernel } from "../../src/kernel/target.ts";
import { parsePatch } from "../../src/livepatch/build/source/patch.ts";
import { applyPatches, makePatchedTree } from "../../src/livepatch/build/source/patched-tree.ts";
import { type KernelTrees, prepareTrees } from "../../src/livepatch/build/source/trees.ts";
import { compileUnits } from "../../src/livepatch/build/units/compile.ts";
import { unitsOfPatch } from "../../src/livepatch/build/units/reach.ts";
import { describeUnits } from "../../src/livepatch/build/units/units.ts";
import { testKernels } from "./kernels.ts";

const file = "net/ipv4/tcp_input.c";
let trees: KernelTrees;

beforeAll(async () => {
  trees = await prepareTrees(await targetKernel((await testKernels()).previous));
});

/** A patch that puts lines at the start of a function. */
function patchOf(path: string, start: string, added: string[]): string {
  const lines = readFileSync(join(trees.pristine, path), "latin1").split("\n");
  const at = lines.indexOf(
    "{",
    lines.findIndex((line) => line.startsWith(start)),
  );
  const hunk = [" {", ...added.map((line) => `+${line}`), ` ${lines[at + 1]}`];
  return `--- a/${path}\n+++ b/${path}\n@@ -${at + 1},2 +${at + 1},${2 + added.length} @@\n${hunk.join("\n")}\n`;
}

describe("a prepared tree", () => {
  test("knows which units the target builds, and into what", async () => {
    const units = await describeUnits(trees, [
      file,
      "fs/ext4/inode.c",
      "virt/kvm/kvm_main.c",
      "drivers/gpu/drm/amd/display/dc/core/dc.c",
      "arch/x86/um/delay.c",
    ]);
    expect(units.map((unit) => [unit.enabled, unit.owner])).toEqual([
      [true, { kind: "vmlinux" }],
      [true, { kind: "module", name: "ext4" }],
      [true, { kind: "module", name: "kvm" }],
      [true, { kind: "module", name: "amdgpu" }],
      [false, { kind: "vmlinux" }],
    ]);
  });

  test("gives two objects that differ in the patched function only", async () => {
    const text = patchOf(file, "static __cold void tcp_gro_dev_warn", ["\tif (!sk)", "\t\treturn;"]);
    const touched = await applyPatches(trees, [parsePatch(text)]);
    await using tree = await makePatchedTree(trees, touched);
    const [unit] = await compileUnits(trees, tree, await unitsOfPatch(trees, touched));
    const sections = (path: string): Map<string, Buffer> =>
      new Map(
        readElf(readFileSync(path))
          .sections.filter(({ name }) => name !== "" && !/^\.(rela|debug_)|tab$/.test(name))
          .map(({ name, data }) => [name, Buffer.from(data)]),
      );
    const original = sections(unit!.original);
    const patched = sections(unit!.patched);
    expect([...patched.keys()]).toEqual([...original.keys()]);
    // tcp_gro_dev_warn is inlined into its only caller. Bug tables below it stay as they are: line numbers are kept.
    const different = [...original]
      .filter(([name, data]) => !data.equals(patched.get(name)!))
      .map(([name]) => name);
    expect(different).toEqual([".text.tcp_measure_rcv_mss"]);
    expect(readElf(readFileSync(await unit!.stockFlags())).section(".text")!.size).toBeGreaterThan(10_000);
  });

  test("finds C files through those that include them", async () => {
    const text = patchOf("kernel/sched/rt.c", "enqueue_task_rt(", ["\tbarrier();"]);
    const touched = await applyPatches(trees, [parsePatch(text)]);
    expect((await unitsOfPatch(trees, touched)).map((unit) => unit.source)).toEqual([
      "kernel/sched/build_policy.c",
    ]);
  });

  test("finds those that reach a header through one that kbuild generates", async () => {
    const header = "include/asm-generic/mcs_spinlock.h";
    const [first, second] = readFileSync(join(trees.pristine, header), "latin1").split("\n");
    const text = `--- a/${header}\n+++ b/${header}\n@@ -1,2 +1,3 @@\n ${first}\n+#define ADDED 1\n ${second}\n`;
    const touched = await applyPatches(trees, [parsePatch(text)]);
    const reached = (await unitsOfPatch(trees, touched)).map(({ source }) => source);
    expect(reached).toContain("kernel/locking/qspinlock.c");
    expect(reached).not.toContain("kernel/locking/mutex-debug.c");
  });

  test("names the line of the patched file that does not compile", async () => {
    const text = patchOf(file, "static __cold void tcp_gro_dev_warn", ["\tno_such_function();"]);
    const touched = await applyPatches(trees, [parsePatch(text)]);
    await using tree = await makePatchedTree(trees, touched);
    const line = touched[0]!.text!.split("\n").indexOf("\tno_such_function();") + 1;
    await expect(compileUnits(trees, tree, await unitsOfPatch(trees, touched))).rejects.toMatchObject({
      code: "RK-COMPILE-ERROR",
      message: expect.stringContaining(`${file}:${line}:`),
    });
  });

  test("builds modules with the target's vermagic, and nothing is written into it", async () => {
    const folder = mkdtempSync(join(tmpdir(), "rekernel-test-"));
    try {
      writeFileSync(join(folder, "Kbuild"), "obj-m := empty.o\n");
      writeFileSync(join(folder, "empty.c"), '#include <linux/module.h>\nMODULE_LICENSE("GPL");\n');
      writeFileSync(join(folder, "stamp"), "");
      execFileSync("make", ["-s", "-C", trees.pristine, ...trees.makeArgs, `M=${folder}`, "modules"]);
      const stock = await KernelModuleFile.open(
        join((await targetKernel(trees.release)).modules!, "kernel/fs/ext4/ext4.ko.xz"),
      );
      expect((await KernelModuleFile.open(join(folder, "empty.ko"))).vermagic).toBe(stock.vermagic);
      const newer = execFileSync("find", [trees.pristine, "-type", "f", "-newer", join(folder, "stamp")]);
      expect(newer.toString()).toBe("");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

test("a release that does not exist is answered with those that do", async () => {
  await expect(targetKernel("6.12.1+deb12-amd64")).rejects.toMatchObject({
    code: "RK-TARGET-UNKNOWN",
    hint: expect.stringContaining("deb12-amd64"),
  });
  expect(
    nearestReleases("6.12.8+deb12-amd64", [
      "6.1.0-5-amd64",
      "6.12.9+deb12-amd64",
      "6.12.8+deb12-rt-amd64",
    ])[0],
  ).toBe("6.12.9+deb12-amd64");
});
