/** A vmlinux with the relocations that KASLR needs behind it, linked as the kernel build does it. */
import { type ExecFileSyncOptionsWithStringEncoding, execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Fields of every kind that arch/x86/tools/relocs.c collects, in all four segments of a kernel. */
const assembly = `
  .section .head.text, "ax"
  .globl startup_64
startup_64:
  leaq table(%rip), %rsi
  hlt
  .text
  .rept 50
  movq $table, %rax
  movl cpu_number(%rip), %eax
  movl table(,%rax,4), %ebx
  .endr
  .section .rodata, "a"
  .ascii "BANNER (builder@example.org)"
  .balign 8
table:
  .rept 20
  .quad startup_64, table + 8, counter, boundary
  .endr
  .data
  .globl boundary
boundary: .fill 65536, 1, 0x11
counter: .quad counter, startup_64 + 0x1234
  .section .data..percpu, "aw"
  .globl cpu_number
this_cpu: .quad counter
cpu_number: .long 0
  .section .init.data, "aw"
  .quad table, counter
  .bss
  .fill 8192
`;

const linkerScript = (base: string) => `
ENTRY(phys_startup_64)
phys_startup_64 = startup_64 - 0xffffffff80000000;
PHDRS { text PT_LOAD FLAGS(5); data PT_LOAD FLAGS(6); percpu PT_LOAD FLAGS(6); init PT_LOAD FLAGS(7); }
SECTIONS {
  . = ${base};
  .text : AT(ADDR(.text) - 0xffffffff80000000) { *(.head.text) *(.text) } :text
  .rodata : AT(ADDR(.rodata) - 0xffffffff80000000) { *(.rodata) } :text
  . = ALIGN(0x200000);
  .data : AT(ADDR(.data) - 0xffffffff80000000) { *(.data) } :data
  . = ALIGN(4096);
  load_percpu = .;
  .data..percpu 0 : AT(load_percpu - 0xffffffff80000000) { *(.data..percpu) } :percpu
  . = load_percpu + 4096;
  .init.data : AT(ADDR(.init.data) - 0xffffffff80000000) { *(.init.data) } :init
  . = ALIGN(4096);
  .bss : AT(ADDR(.bss) - 0xffffffff80000000) { *(.bss) } :init
  /DISCARD/ : { *(.note*) }
}`;

/** Link address of the kernel: CONFIG_PHYSICAL_START in the window. */
export const linkedAt = 0xffffffff81000000n;

export interface RelocatableVmlinux {
  /** The ELF file without symbols, as it stands in a bzImage. */
  elf: Uint8Array;
  /** What stands behind it, in the form with three lists and in that with two. */
  relocations: Uint8Array;
  places: { absolute64: number[]; inverse32: number[]; absolute32: number[] };
  /** The same kernel, linked `slide` bytes further up. */
  linkedHigher(slide: number): Uint8Array;
}

/** @param banner linux_banner, which makes it a Linux kernel */
export function buildRelocatableVmlinux(banner = "Linux version 0"): RelocatableVmlinux {
  const link = (base: bigint) => {
    const folder = mkdtempSync(join(tmpdir(), "rekernel-test-"));
    try {
      const options: ExecFileSyncOptionsWithStringEncoding = { cwd: folder, encoding: "utf8" };
      writeFileSync(join(folder, "vmlinux.S"), assembly.replace("BANNER", banner));
      writeFileSync(join(folder, "vmlinux.lds"), linkerScript(`0x${base.toString(16)}`));
      execFileSync("gcc", ["-c", "-o", "vmlinux.o", "vmlinux.S"], options);
      const ld = [
        "-T",
        "vmlinux.lds",
        "-z",
        "max-page-size=0x200000",
        "--emit-relocs",
        "--no-relax",
        "--no-warn-rwx-segments",
      ];
      execFileSync("ld", [...ld, "-o", "vmlinux", "vmlinux.o"], options);
      const relocations = execFileSync("readelf", ["-rW", "vmlinux"], options);
      const symbols = execFileSync("readelf", ["-sW", "vmlinux"], options);
      execFileSync("objcopy", ["-R", ".note*", "-R", ".comment", "-S", "vmlinux", "vmlinux.bin"], options);
      return { elf: new Uint8Array(readFileSync(join(folder, "vmlinux.bin"))), relocations, symbols };
    } finally {
      rmSync(folder, { recursive: true });
    }
  };
  const { elf, relocations, symbols } = link(linkedAt);
  const places = placesIn(relocations, symbols);
  return {
    elf,
    relocations: relocationBytes([places.absolute64, places.inverse32, places.absolute32]),
    places,
    linkedHigher: (slide) => link(linkedAt + BigInt(slide)).elf,
  };
}

/** Lists as emit_relocs writes them. */
export function relocationBytes(lists: readonly (readonly number[])[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(lists.flatMap((list) => [0, ...list])).buffer);
}

/** do_reloc64 of arch/x86/tools/relocs.c, from what readelf prints. */
function placesIn(relocations: string, symbols: string) {
  const loadOfPerCpu = Number.parseInt(/([0-9a-f]{16}) .* load_percpu/.exec(symbols)![1]!.slice(8), 16);
  const places = { absolute64: [] as number[], inverse32: [] as number[], absolute32: [] as number[] };
  let perCpu = false;
  for (const line of relocations.split("\n")) {
    const section = /^Relocation section '\.rela(\S+)'/.exec(line)?.[1];
    if (section !== undefined) perCpu = section === ".data..percpu";
    const entry = /^([0-9a-f]{16})\s+\S+\s+(R_X86_64_\w+)\s+([0-9a-f]{16})\s+(\S+)/.exec(line);
    if (entry === null) continue;
    const [, offset = "", type, value = "", name] = entry;
    const place = perCpu ? loadOfPerCpu + Number.parseInt(offset, 16) : Number.parseInt(offset.slice(8), 16);
    const ofPerCpu = name === ".data..percpu" || BigInt(`0x${value}`) < 0x1000n;
    if (type === "R_X86_64_64" && !ofPerCpu) places.absolute64.push(place);
    if (type === "R_X86_64_32S" && !ofPerCpu) places.absolute32.push(place);
    if (type === "R_X86_64_PC32" && ofPerCpu && !perCpu) places.inverse32.push(place);
  }
  for (const list of Object.values(places)) list.sort((a, b) => a - b);
  return places;
}
