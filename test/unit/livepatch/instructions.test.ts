import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readElf } from "../../../src/formats/elf/read.ts";
import {
  decodeInstruction,
  type Instruction,
  maxInstructionLength,
} from "../../../src/livepatch/build/arch/instructions.ts";
import { compileBytes } from "./compile.ts";

/** What inline assembly of the kernel holds, and the rare forms of each opcode map. */
const assembly = `
 endbr64; ud2; ud1 (%edi), %eax; .byte 0x0f, 0xff, 0xc0; int3; syscall; sysretq; swapgs; cpuid; rdtsc; rdtscp; wrmsr; xgetbv; clac; stac
 rep movsb; rep stosq; repe cmpsb; lock cmpxchg16b (%rdi); lock xaddl %eax, 4(%rdi,%rcx,8); xchgq %rax, (%rsi)
 movq %gs:0x28, %rax; movl %gs:counter(%rip), %eax; incl %fs:0x10(%rax,%rbx,4); movabs 0x1122334455667788, %rax; addr32 movl 4(%eax), %ecx
 movabs $0x1122334455667788, %r11; movl $5, %ecx; movw $5, counter(%rip); movb $5, counter(%rip); cmpw $0x1234, 8(%r13)
 testl $0x100, counter(%rip); testb $1, counter+2(%rip); notl counter(%rip); negb (%rax); imul $100, counter(%rip), %rax; imul $1000, (%r12), %eax
 shldq $3, %rax, counter(%rip); btsl $7, counter(%rip); shrq $4, counter(%rip); addq $-1, counter(%rip); leaq counter(%rip), %rdi; leaq 8(,%rcx,4), %rsi
 movl table(,%rax,4), %edx; movq $table, %rdi; pushq $0x12345678; pushw $0x1234; enter $16, $0; ret $8; int $0x80; inb $0x60, %al; outb %al, $0x60
 jrcxz 1f; loop 1f; 1: jmp *%rax; call *8(%rbx); jmp *table(,%rax,8); call *counter(%rip); notrack jmp *%rdx; bnd jmp 1b
 mov %cr3, %rax; mov %rax, %dr7; lgdt (%rax); invlpg (%rdi); prefetchw (%rdi); prefetchnta 64(%rdi); clflushopt (%rax); sfence
 crc32q %rax, %rdx; pshufb %xmm1, %xmm2; palignr $8, %xmm1, %xmm2; aesenc (%rax), %xmm3; pclmulqdq $0x11, counter(%rip), %xmm1; movbe (%rax), %ecx; adox %rax, %rbx
 pshufd $0x4e, counter(%rip), %xmm0; psrldq $8, %xmm0; cmpps $2, %xmm0, %xmm1; fxsave (%rdi); fninit; fnstcw 2(%rsp); emms; extrq $4, $8, %xmm1; insertq $4, $8, %xmm1, %xmm2
 vpxor %ymm0, %ymm1, %ymm2; vpalignr $8, counter(%rip), %ymm1, %ymm2; vpshufd $1, (%rax), %ymm3; vzeroupper; andn %rax, %rbx, %rcx; rorx $7, counter(%rip), %eax; vpblendvb %xmm1, %xmm2, %xmm3, %xmm4; kmovq %k1, %rax
 vpaddd 64(%rax), %zmm1, %zmm2; vpternlogd $0x96, counter(%rip), %zmm1, %zmm2; vmovdqu8 %zmm16, 256(%rdi){%k1}; vpsrldq $4, %zmm1, %zmm2; vgatherdps (%rax,%zmm1,4), %zmm2{%k1}; vaddph %zmm1, %zmm2, %zmm3; vfmadd132ph (%rax), %zmm1, %zmm2
 xbegin 1b; xabort $3; xend; vmcall; vmlaunch; vmread %rax, (%rbx); invept (%rax), %rbx; encls; wrfsbase %rax; rdrand %eax; serialize; senduipi %rax
 .nops 31; nopw %cs:0(%rax,%rax); .byte 0x66, 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0
`;

const source = `
long counter; long table[64];
#include <stdint.h>
typedef int v16 __attribute__((vector_size(64)));
__attribute__((target("avx512f"))) void wide(v16 *a, v16 *b) { *a = *a * *b + (*a >> 3); }
__attribute__((target("avx2"))) void sum(int *a, int n) { for (int i = 0; i < n; i++) a[i] = a[i] * 3 + n; }
int choose(int x) { switch (x) { case 0: return printk("a"); case 1: return printk("b"); case 2: return 7 * printk("c"); case 3: return printk("d"); case 4: return 100000; } return x * 1000003; }
uint64_t mix(uint64_t x) { x ^= x >> 33; x *= 0xff51afd7ed558ccdull; x = __builtin_bswap64(x) + __builtin_popcountll(x); return x << 7 | x >> 57; }
int atomics(int *p) { __atomic_fetch_add(p, 5, __ATOMIC_SEQ_CST); return __atomic_compare_exchange_n(p, &(int){3}, 0x12345, 0, 5, 5) + __atomic_exchange_n(&p[300], 9, 5); }
unsigned divide(unsigned x, short *y, char *z) { *y += 0x1234; *z |= 0x81; counter &= 0xff00ff; table[x & 63]++; return x / 10 + x % *z; }
double real(double x, float y) { return __builtin_sqrt(x) * y + (int)y; }
__int128 big(__int128 x, long y) { return x * y + (x << 5); }
void warns(int x) { if (x > 5) WARN(1); ALTERNATIVE("call choose", "lfence", 3); if (x > 9) __builtin_trap(); }
asm(".text\\n.globl specials\\nspecials:\\n${assembly.trim().replaceAll("\n", "\\n")}");
`;

interface Line {
  address: number;
  /** Undefined for the last one of a function. */
  length: number | undefined;
  text: string;
}

/** What objdump, which comes with the compiler, says. */
function disassembly(file: string): Map<string, Line[]> {
  const text = execFileSync("objdump", ["-d", "-z", "-w", "--no-show-raw-insn", file], { encoding: "utf8" });
  const sections = new Map<string, Line[]>();
  let lines: Line[] = [];
  for (const line of text.split("\n")) {
    const section = /^Disassembly of section (.*):$/.exec(line)?.[1];
    if (section !== undefined) {
      lines = [];
      sections.set(section, lines);
    }
    const [, address, instruction] = /^ *([0-9a-f]+):\t(.*)$/.exec(line) ?? [];
    if (address === undefined || instruction === undefined) continue;
    const at = Number.parseInt(address, 16);
    const last = lines.at(-1);
    if (last) last.length = at - last.address;
    lines.push({ address: at, length: undefined, text: instruction.trim() });
  }
  return sections;
}

function view(code: Uint8Array): DataView {
  return new DataView(code.buffer, code.byteOffset, code.byteLength);
}

function branchTarget(code: Uint8Array, at: number, instruction: Instruction): number | undefined {
  if (!instruction.branchField) return undefined;
  const field = at + instruction.branchField.offset;
  const displacement =
    instruction.branchField.size === 1 ? view(code).getInt8(field) : view(code).getInt32(field, true);
  return at + instruction.length + displacement;
}

/** Every instruction of the file, as far as it is not what objdump says. */
function disagreements(bytes: Uint8Array): { count: number; wrong: string[] } {
  const folder = mkdtempSync(join(tmpdir(), "rekernel-test-"));
  try {
    writeFileSync(join(folder, "unit.o"), bytes);
    const elf = readElf(bytes, "unit.o");
    const wrong: string[] = [];
    let count = 0;
    for (const [name, lines] of disassembly(join(folder, "unit.o"))) {
      const code = elf.section(name)!.data;
      for (const { address, length, text } of lines) {
        count++;
        const instruction = decodeInstruction(code, address);
        const complain = (what: string) => wrong.push(`${name}+0x${address.toString(16)} ${text}: ${what}`);
        if (!instruction) complain("undefined");
        else {
          if (length !== undefined && instruction.length !== length)
            complain(`${instruction.length} bytes instead of ${length}`);
          const plain = text.replace(/^((bnd|notrack|data16|rep|lock|addr32|cs|gs|fs) )+/, "");
          const target = /^(?:call|j\w+|loop\w*|xbegin) +([0-9a-f]+) /.exec(plain)?.[1];
          const expected = target === undefined ? undefined : Number.parseInt(target, 16);
          if (branchTarget(code, address, instruction) !== expected)
            complain(`branch to ${branchTarget(code, address, instruction)}`);
          if (plain.includes("(%rip)") !== (instruction.ripField !== undefined)) complain("RIP-relative");
          if (plain.startsWith("lea ") !== instruction.isLea) complain("lea");
        }
      }
    }
    return { count, wrong };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const object = compileBytes(source);
const decode = (hex: string) => decodeInstruction(Buffer.from(hex.replaceAll(" ", ""), "hex"), 0);

describe("instructions of x86-64", () => {
  it("end where objdump says, with their branches and RIP-relative operands", () => {
    const { count, wrong } = disagreements(object);
    expect(wrong).toEqual([]);
    expect(count).toBeGreaterThan(400);
  });

  it("know their fields", () => {
    expect(decode("e8 01020304")).toMatchObject({
      kind: "call",
      length: 5,
      branchField: { offset: 1, size: 4 },
    });
    expect(decode("eb fe")).toMatchObject({ kind: "jump", branchField: { offset: 1, size: 1 } });
    expect(decode("2e 0f84 01020304")).toMatchObject({
      kind: "conditional-jump",
      branchField: { offset: 3, size: 4 },
    });
    // movl $0x12345678, x(%rip) and lea x(%rip), %rdi
    expect(decode("c705 00000000 78563412")).toMatchObject({
      length: 10,
      kind: "other",
      ripField: { offset: 2, size: 4 },
      displacement: { offset: 2, size: 4 },
      immediate: { offset: 6, size: 4 },
      isLea: false,
    });
    expect(decode("488d3d 00000000")).toMatchObject({
      ripField: { offset: 3 },
      immediate: undefined,
      isLea: true,
    });
    // mov table(,%rax,4), %edx reads; mov $table, %rdi takes the address
    expect(decode("8b1485 00000000")).toMatchObject({
      displacement: { offset: 3, size: 4 },
      ripField: undefined,
    });
    expect(decode("48c7c7 00000000")).toMatchObject({
      displacement: undefined,
      immediate: { offset: 3, size: 4 },
    });
    expect(decode("49bb 8877665544332211")).toMatchObject({ length: 10, immediate: { offset: 2, size: 8 } });
  });

  it("are undefined where they are cut off, too long or none in 64-bit mode", () => {
    for (const hex of [
      "",
      "e8 010203",
      "48",
      "0f",
      "0f 3a 0f c1",
      "c4 e2",
      "62 f1",
      "06",
      "ea",
      `${"66".repeat(15)}90`,
    ])
      expect(decode(hex), hex).toBeUndefined();
    expect(decode(`${"66".repeat(14)}90`)?.length).toBe(15);
  });

  it("are undefined or make progress, whatever the bytes are", () => {
    const text = readElf(object, "unit.o").section(".text")!.data;
    const check = (code: Uint8Array) => {
      for (let at = 0; at < code.length; ) {
        const instruction = decodeInstruction(code, at);
        if (!instruction) {
          at++;
          continue;
        }
        const { length, branchField, displacement, ripField, immediate } = instruction;
        expect(length).toBeGreaterThan(0);
        expect(length).toBeLessThanOrEqual(maxInstructionLength);
        expect(at + length).toBeLessThanOrEqual(code.length);
        for (const field of [branchField, displacement, ripField, immediate])
          if (field) expect(field.offset + field.size).toBeLessThanOrEqual(length);
        at += length;
      }
    };
    fc.assert(fc.property(fc.uint8Array({ maxLength: 64 }), check), { numRuns: 2000 });
    fc.assert(
      fc.property(fc.nat(text.length - 1), fc.nat(255), (at, byte) =>
        check(text.subarray(Math.max(at - 20, 0), at + 20).map((old, index) => (index === 20 ? byte : old))),
      ),
      { numRuns: 2000 },
    );
  });
});
