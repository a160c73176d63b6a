import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { buildKallsyms, sampleSymbols, type TestSymbol } from "../formats/build-kallsyms.ts";

export const testBanner =
  "Linux version 6.12.0-test (builder@example.org) (gcc-12 (Debian 12.2.0-14) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40) #1 SMP Test 6.12.0-1 (2026-01-01)";

export const testSymbols: readonly TestSymbol[] = [
  ...sampleSymbols(600, true),
  { name: "klp_enable_patch", type: "T", address: 0xffffffff81008000n },
  { name: "twin", type: "t", address: 0xffffffff81008100n },
  { name: "twin", type: "t", address: 0xffffffff81008200n },
  { name: "last_function", type: "T", address: 0xffffffff81008300n },
];

const assembly = String.raw`
  .section .rodata, "a"
  .ascii "BANNER # SMP Test\n\0"
  .ascii "BANNER\n\0"
  .balign 8
  .incbin "kallsyms.bin"
  .text
start:
  .fill 0x8300, 1, 0x90
  .byte 0xc3
  .macro export name, section, value, namespace
  .section __ksymtab_strings, "a"
name_\name: .asciz "\name"
namespace_\name: .asciz "\namespace"
  .section __ksymtab\section, "a"
  .long start + \value - ., name_\name - ., namespace_\name - .
  .endm
  export last_function, , 0x8300, ""
  export klp_enable_patch, _gpl, 0x8000, "LIVEPATCH"
  .section __kcrctab, "a"
  .long 0x11223344
  .section __kcrctab_gpl, "a"
  .long 0xdeadbeef
  .section .notes, "a", @note
  .long 4, 4, 3
  .asciz "GNU"
  .byte 0x12, 0x34, 0xab, 0xcd
  .bss
  .fill 64
`;

const linkerScript = `
PHDRS { text PT_LOAD FLAGS(5); data PT_LOAD FLAGS(6); }
SECTIONS {
  . = 0xffffffff81000000;
  .text : { *(.text) } :text
  . = ALIGN(4096);
  .rodata : { *(.rodata) }
  __ksymtab : { *(__ksymtab) }
  __ksymtab_gpl : { *(__ksymtab_gpl) }
  __kcrctab : { *(__kcrctab) }
  __kcrctab_gpl : { *(__kcrctab_gpl) }
  __ksymtab_strings : { *(__ksymtab_strings) }
  .notes : { *(.notes) }
  . = ALIGN(4096);
  .bss : { *(.bss) } :data
  /DISCARD/ : { *(*) }
}`;

/** Links a small vmlinux with the real one's sections, and strips it as the kernel build does. */
export function buildVmlinux(): Uint8Array {
  return inTemporaryFolder((folder) => {
    const tables = buildKallsyms(testSymbols, { layout: "6.4", meaning: "absolute-percpu" }, 0n);
    writeFileSync(join(folder, "kallsyms.bin"), tables);
    const weakBanner = testBanner.replace(/ #.*/, "");
    writeFileSync(
      join(folder, "vmlinux.S"),
      assembly.replace("BANNER #", `${weakBanner} #`).replace("BANNER\\n", `${testBanner}\\n`),
    );
    writeFileSync(join(folder, "vmlinux.lds"), linkerScript);
    const options = { cwd: folder, stdio: "pipe" } as const;
    execFileSync("gcc", ["-c", "-o", "vmlinux.o", "vmlinux.S"], options);
    execFileSync("ld", ["-T", "vmlinux.lds", "-s", "-e", "0", "-o", "vmlinux", "vmlinux.o"], options);
    return new Uint8Array(readFileSync(join(folder, "vmlinux")));
  });
}

/** Compiles a module-like object: the sections of a .ko, without the kernel's own structures. */
export function buildModule(): Uint8Array {
  return inTemporaryFolder((folder) => {
    writeFileSync(
      join(folder, "module.c"),
      String.raw`
asm(".section .modinfo, \"a\"\n"
    ".asciz \"license=GPL\"\n" ".asciz \"depends=first,second-part\"\n"
    ".asciz \"name=test-module\"\n" ".asciz \"alias=one\"\n" ".asciz \"alias=two\"\n"
    ".asciz \"vermagic=6.12.0-test SMP mod_unload modversions \"\n");
asm(".section __versions, \"a\"\n"
    ".quad 0x01020304\n .ascii \"module_layout\"\n .skip 43\n"
    ".quad 0xfffffffe\n .ascii \"_printk\"\n .skip 49\n");
asm(".section __ksymtab_strings, \"a\"\n"
    "name_shared: .asciz \"shared\"\n" "namespace_shared: .asciz \"\"\n");
asm(".section __ksymtab_gpl, \"a\"\n"
    ".long shared - .\n .long name_shared - .\n .long namespace_shared - .\n");
asm(".section __kcrctab_gpl, \"a\"\n .long 0x0badcafe\n");
int counter;
extern int _printk(const char *, ...);
static int helper(int value) { return _printk("%d", value); }
int shared(int value) { counter++; return helper(value) + 1; }
`,
    );
    execFileSync("gcc", ["-O0", "-c", "-o", "module.ko", "module.c"], { cwd: folder, stdio: "pipe" });
    return new Uint8Array(readFileSync(join(folder, "module.ko")));
  });
}

/** Wraps a vmlinux into a bzImage with a boot protocol 2.15 header. */
export function buildBzImage(vmlinux: Uint8Array, change: (header: Buffer) => void = () => {}): Uint8Array {
  const payload = gzipSync(vmlinux);
  const setup = Buffer.alloc(4 * 512);
  setup[0x1f1] = 3;
  setup.writeUInt16LE(0xaa55, 0x1fe);
  setup.set([0xeb, 0x6a], 0x200);
  setup.write("HdrS", 0x202, "latin1");
  setup.writeUInt16LE(0x020f, 0x206);
  setup.writeUInt16LE(0x400, 0x20e);
  setup.write("6.12.0-test (builder@example.org) #1 SMP", 0x600, "latin1");
  setup[0x211] = 1;
  setup.writeUInt32LE(0x200000, 0x230);
  setup[0x234] = 1;
  setup[0x235] = 21;
  setup.writeUInt16LE(0x3f, 0x236);
  setup.writeUInt32LE(2047, 0x238);
  setup.writeUInt32LE(16, 0x248);
  setup.writeUInt32LE(payload.length, 0x24c);
  setup.writeBigUInt64LE(0x1000000n, 0x258);
  setup.writeUInt32LE(vmlinux.length + (1 << 20), 0x260);
  change(setup);
  return new Uint8Array(Buffer.concat([setup, Buffer.alloc(16), payload, Buffer.alloc(32)]));
}

function inTemporaryFolder<T>(work: (folder: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), "rekernel-test-"));
  try {
    return work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
