import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readUnitObject, type UnitObject } from "../../../src/livepatch/build/object/object.ts";

/** What the kernel's own flags mean for the shape of its objects. */
const kernelFlags = [
  "-O2",
  "-ffunction-sections",
  "-fdata-sections",
  "-fno-PIE",
  "-mcmodel=kernel",
  "-mno-red-zone",
  "-fno-asynchronous-unwind-tables",
  "-fno-common",
  "-fcf-protection=branch",
  "-fpatchable-function-entry=16,16",
  "-pg",
  "-mfentry",
  "-mrecord-mcount",
  "-w",
];

/** The kernel's macros whose table entries the difference has to carry, in the kernel's own layout. */
export const kernelMacros = `
#define noinline __attribute__((noinline))
#define __init __attribute__((section(".init.text")))
typedef unsigned long ulong;
struct static_key { int enabled; ulong entries; };
static inline __attribute__((always_inline)) int static_branch(struct static_key *key)
{
	asm goto("1: jmp %l[yes]\\n\\t.pushsection __jump_table, \\"aw\\"\\n\\t.balign 8\\n\\t"
		 ".long 1b - .\\n\\t.long %l[yes] - .\\n\\t.quad %c0 + %c1 - .\\n\\t.popsection\\n\\t"
		 : : "i" (key), "i" (2) : : yes);
	return 0;
yes:
	return 1;
}
#define WARN(flags) asm volatile("1: ud2\\n\\t.pushsection __bug_table, \\"aw\\"\\n\\t" \\
	"2: .long 1b - .\\n\\t.long %c0 - .\\n\\t.word %c1\\n\\t.word %c2\\n\\t.org 2b + 12\\n\\t.popsection\\n\\t" \\
	: : "i" (__FILE__), "i" (__LINE__), "i" (flags))
#define ALTERNATIVE(old, new, feature) asm volatile("661: " old "\\n662:\\n" \\
	".pushsection .altinstructions, \\"a\\"\\n .long 661b - .\\n .long 663f - .\\n .4byte " #feature "\\n" \\
	" .byte 662b-661b\\n .byte 664f-663f\\n.popsection\\n" \\
	".pushsection .altinstr_replacement, \\"ax\\"\\n663: " new "\\n664:\\n.popsection\\n")
int printk(const char *format, ...);
`;

/** Compiles one C source as the kernel would. The file's name is the same for both sides of a comparison. */
export function compileBytes(source: string): Uint8Array {
  return compileWith("gcc", [], source);
}

/** The same with another compiler, and flags that count more than the kernel's. */
export function compileWith(compiler: string, flags: readonly string[], source: string): Uint8Array {
  const folder = mkdtempSync(join(tmpdir(), "rekernel-test-"));
  try {
    writeFileSync(join(folder, "unit.c"), kernelMacros + source);
    const known = kernelFlags.filter((flag) => compiler === "gcc" || flag !== "-mrecord-mcount");
    execFileSync(compiler, [...known, ...flags, "-c", "unit.c", "-o", "unit.o"], {
      cwd: folder,
      stdio: ["ignore", "ignore", "inherit"],
    });
    return readFileSync(join(folder, "unit.o"));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

export function compile(source: string): UnitObject {
  return readUnitObject(compileBytes(source), "unit.o");
}
