/** Compiles the small kernel beside it that says how it was entered, in the variants that the tests need. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface MultibootKernelVariant {
  version: 1 | 2;
  /** A bare copy of memory, whose header tells where it belongs; an ELF file without. */
  flat?: boolean;
  /** An ELF file of 64 bits around the same 32-bit code. */
  elf64?: boolean;
  /** Version 2: it may lie anywhere at multiples of 2 MiB. */
  relocatable?: boolean;
  /** At its end it switches the machine off instead of resetting it. */
  powerOff?: boolean;
}

/** It is linked to this address. */
export const linkedAt = 0x2000000;

export function buildMultibootKernel(variant: MultibootKernelVariant): Uint8Array {
  const folder = mkdtempSync(join(tmpdir(), "rekernel-unit-"));
  const at = (name: string) => join(folder, name);
  const source = (name: string) => join(import.meta.dirname, name);
  const run = (tool: string, ...args: string[]) => execFileSync(tool, args, { stdio: "pipe" });
  const defines = [
    `-DVERSION=${variant.version}`,
    ...(variant.flat ? ["-DFLAT"] : []),
    ...(variant.relocatable ? ["-DRELOCATABLE"] : []),
    ...(variant.powerOff ? ["-DPOWER_OFF"] : []),
  ];
  try {
    const flags = ["-m32", "-ffreestanding", "-fPIE", "-fvisibility=hidden", "-fcf-protection=none"];
    flags.push(
      "-fno-stack-protector",
      "-fno-asynchronous-unwind-tables",
      "-mgeneral-regs-only",
      "-O1",
      "-Wall",
    );
    run("gcc", "-c", ...flags, ...defines, "-o", at("kernel.o"), source("kernel.c"));
    run("gcc", "-c", "-m32", ...defines, "-o", at("start.o"), source("start.S"));
    run(
      "ld",
      "-m",
      "elf_i386",
      "-T",
      source("kernel.lds"),
      "-o",
      at("kernel"),
      at("start.o"),
      at("kernel.o"),
    );
    if (variant.flat) run("objcopy", "-O", "binary", at("kernel"));
    if (variant.elf64) run("objcopy", "-I", "elf32-i386", "-O", "elf64-x86-64", at("kernel"));
    return readFileSync(at("kernel"));
  } finally {
    rmSync(folder, { recursive: true });
  }
}
