import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { RekernelError } from "../../src/core/errors.ts";
import { SHN_UNDEF } from "../../src/formats/elf/constants.ts";
import { KernelImage } from "../../src/kernel/image.ts";
import { KernelModuleFile } from "../../src/kernel/module.ts";
import { type BootableKernel, bootableKernel } from "../../src/kernel/target.ts";
import { bootVm } from "../../src/lab/vm.ts";
import { type TestKernels, testKernels } from "./kernels.ts";

describe.each(["newest", "series61"] as const)("kallsyms of the stock kernel (%s)", (which) => {
  let kernel: BootableKernel;
  let vmlinuxLines: string[];
  let moduleLines: string[];
  let notes: string;
  let image: KernelImage;

  beforeAll(async () => {
    const kernels: TestKernels = await testKernels();
    kernel = await bootableKernel(kernels[which]);
    image = await KernelImage.open(kernel.image);
    await using vm = await bootVm({ kernel, commandLine: "nokaslr", hostRoot: false });
    const text = Buffer.from(await vm.readFile("/proc/kallsyms")).toString("latin1");
    const lines = text.trimEnd().split("\n");
    // Modules' lines, and what the kernel adds while it runs, end with an owner in brackets.
    vmlinuxLines = lines.filter((line) => !line.includes("\t["));
    moduleLines = lines.filter((line) => line.includes("\t["));
    notes = Buffer.from(await vm.readFile("/sys/kernel/notes")).toString("hex");
  });

  test("every symbol, address and type is what the running kernel shows", () => {
    const ours = image.symbols.map(
      ({ address, type, name }) => `${address.toString(16).padStart(16, "0")} ${type} ${name}`,
    );
    expect(ours.length).toBeGreaterThan(90_000);
    expect(ours.length).toBe(vmlinuxLines.length);
    expect(ours.filter((line, index) => line !== vmlinuxLines[index]).slice(0, 10)).toEqual([]);
  });

  test("the build id is what the running kernel shows", () => {
    expect(image.release).toBe(kernel.release);
    expect(image.buildId).toMatch(/^[0-9a-f]{40}$/);
    expect(notes).toContain(image.buildId);
  });

  test("features are those of the kernel's configuration", async () => {
    const config = await readFile(kernel.config!, "utf8");
    const has = (option: string) => config.includes(`\nCONFIG_${option}=y\n`);
    expect(image.features).toEqual({
      livepatch: has("LIVEPATCH"),
      kexec: has("KEXEC"),
      kexecFile: has("KEXEC_FILE"),
      crashDump: has("PROC_VMCORE"),
      modversions: has("MODVERSIONS"),
      moduleSignatures: has("MODULE_SIG"),
      ftrace: has("DYNAMIC_FTRACE"),
      kprobes: has("KPROBES"),
      kaslr: has("RANDOMIZE_MEMORY"),
      ibt: has("X86_KERNEL_IBT"),
      btf: has("DEBUG_INFO_BTF"),
      orc: has("UNWINDER_ORC"),
      lockdown: has("SECURITY_LOCKDOWN_LSM"),
    });
  });

  test("damaged copies of the image give an answer or a reason", async () => {
    const tryOut = (bytes: Uint8Array) => {
      try {
        const copy = KernelImage.fromBytes(bytes, "copy");
        copy.symbols;
        copy.exports;
        copy.buildId;
      } catch (error) {
        expect(error).toBeInstanceOf(RekernelError);
      }
    };
    const vmlinux = image.elf.bytes;
    const rodata = image.elf.section(".rodata")!;
    const sectionTable = Math.max(...image.elf.sections.map(({ offset }) => offset));
    const packed = new Uint8Array(await readFile(kernel.image));
    for (let seed = 1; seed <= 5; seed++) {
      tryOut(damaged(vmlinux, seed, 0, 512));
      tryOut(damaged(vmlinux, seed, sectionTable, 4096));
      tryOut(damaged(vmlinux, seed, rodata.offset + rodata.size / 2, rodata.size / 2));
      tryOut(vmlinux.subarray(0, Math.trunc((vmlinux.length * seed) / 6)));
    }
    tryOut(damaged(packed, 1, 100_000, packed.length - 200_000));
    tryOut(packed.subarray(0, packed.length / 2));
  });

  test("a loaded module's symbols and types are those of its file", async () => {
    const modulePath = await findModule(kernel.modules!, "9p");
    const module = await KernelModuleFile.open(modulePath);
    // Sections that the kernel drops after initialisation leave the table with them.
    const dropped = new Set(
      module.elf.symbols
        .filter(({ shndx }) => shndx === SHN_UNDEF || /^\.init/.test(module.elf.sections[shndx]?.name ?? ""))
        .map(({ name }) => name),
    );
    const ours = module.symbols
      .filter(({ name }) => !dropped.has(name))
      .map(({ type, name }) => `${type} ${name}`);
    const theirs = moduleLines
      .filter((line) => line.endsWith("\t[9p]"))
      .map((line) => line.replace(/^[0-9a-f]+ /, "").replace(/\t.*/, ""))
      .filter((line) => !dropped.has(line.slice(2)));
    expect(theirs.length).toBeGreaterThan(100);
    expect(ours.toSorted()).toEqual(theirs.toSorted());
  });

  test("a module's CRCs are those that the kernel exports", async () => {
    const module = await KernelModuleFile.open(await findModule(kernel.modules!, "9p"));
    expect(module.vermagic.split(" ")[0]).toBe(image.release);
    const shared = [...module.versions].filter(([name]) => image.exports.has(name));
    expect(shared.length).toBeGreaterThan(50);
    expect(shared.filter(([name, crc]) => image.exports.get(name)!.crc !== crc)).toEqual([]);
  });
});

async function findModule(modules: string, name: string): Promise<string> {
  const folder = join(modules, "kernel/fs", name);
  const file = (await readdir(folder)).find((entry) => entry.startsWith(`${name}.ko`));
  return join(folder, file!);
}

/** Small deterministic damage: a few bytes, where `seed` says. */
function damaged(bytes: Uint8Array, seed: number, from: number, size: number): Uint8Array {
  const copy = bytes.slice();
  let state = seed;
  for (let count = 1 + (seed % 7); count > 0; count--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const at = from + Math.floor((state / 2 ** 32) * size);
    copy[at] = copy[at]! ^ ((state & 0xff) | 1);
  }
  return copy;
}
