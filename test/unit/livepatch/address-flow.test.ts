import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readElf } from "../../../src/formats/elf/read.ts";
import { type AddressUse, addressUses } from "../../../src/livepatch/build/arch/address-flow.ts";
import { compileBytes } from "./compile.ts";

/** What assembly does with the address of `table`, the first thing that it refers to by that name. */
function uses(assembly: string): AddressUse[] | undefined {
  const folder = mkdtempSync(join(tmpdir(), "rekernel-test-"));
  try {
    writeFileSync(join(folder, "code.s"), `.globl table, callee, other\n${assembly}\n`);
    execFileSync("gcc", ["-c", "code.s", "-o", "code.o"], { cwd: folder });
    const elf = readElf(readFileSync(join(folder, "code.o")), "code.o");
    const text = elf.section(".text")!;
    const names = new Map(
      elf.relocationsOf(text).map(({ offset, symbol }) => [offset, elf.symbols[symbol]!.name]),
    );
    const [field] = [...names].find(([, name]) => name === "table")!;
    return addressUses(text.data, { field }, { entry: 0, targetAt: (at) => names.get(at) });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const kinds = (assembly: string) =>
  uses(assembly)!
    .map(({ kind }) => kind)
    .sort();

describe("what code does with an address", () => {
  it("reads through it", () => {
    expect(kinds("mov table(,%rax,4), %eax; ret")).toEqual(["reads"]);
    expect(kinds("movzbl table(%rip), %eax; ret")).toEqual(["reads"]);
    expect(kinds("lea table(%rip), %rdx; mov (%rdx,%rcx,8), %rax; ret")).toEqual(["reads"]);
    expect(kinds("cmpb $3, table(%rip); ret")).toEqual(["reads"]);
  });

  it("walks from it to its end", () => {
    expect(
      kinds(
        "mov $table, %rax; 1: cmp %rdi, (%rax); add $8, %rax; cmp $table+64, %rax; jne 1b; xor %eax, %eax; ret",
      ),
    ).toEqual(["reads"]);
  });

  it("stores it in an object, or on the stack", () => {
    expect(uses("mov $table, %rax; mov %rax, 24(%rdi); ret")).toEqual([{ kind: "stored", offset: 24 }]);
    expect(uses("movq $table, 0x120(%rbx); ret")).toEqual([{ kind: "stored", offset: 0x120 }]);
    expect(uses("lea table(%rip), %r12; xchg %r12, (%r9); ret")).toEqual([{ kind: "stored", offset: 0 }]);
    expect(kinds("movq $table, 8(%rsp); ret")).toEqual(["onStack"]);
    expect(kinds("push %rbp; mov %rsp, %rbp; movq $table, -8(%rbp); leave; ret")).toEqual(["onStack"]);
    expect(kinds("push $table; ret")).toEqual(["onStack"]);
  });

  it("hands it on, also through other registers and across jumps", () => {
    expect(uses("mov $table, %rsi; call callee; ret")).toEqual([
      { kind: "passed", argument: 1, field: expect.any(Number) },
    ]);
    expect(uses("mov $table, %rbx; call other; mov %rbx, %rdi; jmp callee")).toMatchObject([
      { kind: "passed", argument: 0 },
    ]);
    expect(
      uses("test %edi, %edi; mov $table, %rdx; jne 1f; xor %edx, %edx; 1: call callee; ret"),
    ).toMatchObject([{ kind: "passed", argument: 2 }]);
    expect(uses("mov $table, %rdi; call *8(%rax); ret")).toEqual([
      { kind: "passed", argument: 0, field: undefined },
    ]);
    expect(uses("mov $table, %rdi; call __x86_indirect_thunk_rax; ret")).toEqual([
      { kind: "passed", argument: 0, field: undefined },
    ]);
    expect(kinds("mov $other, %rdi; mov $table, %rax; cmovne %rax, %rdi; call callee; ret")).toEqual([
      "passed",
    ]);
  });

  it("returns it", () => {
    expect(kinds("mov $table, %rax; ret")).toEqual(["returned"]);
    expect(kinds("lea table(%rip), %rdx; lea (%rdx,%rdi,8), %rax; jmp __x86_return_thunk")).toEqual([
      "returned",
    ]);
  });

  it("forgets it where a register is written anew, or was only read through", () => {
    expect(kinds("mov $table, %rdi; mov (%rdi), %rsi; xor %edi, %edi; call callee; ret")).toEqual(["reads"]);
    expect(kinds("mov $table, %rdx; mov (%rdx), %rdi; call callee; ret")).toEqual(["reads"]);
    expect(uses("mov $table, %rax; mov 8(%rbx), %rax; ret")).toEqual([]);
    expect(uses("mov $table, %rcx; call other; mov %rcx, (%rdi); ret")).toMatchObject([{ kind: "passed" }]);
  });

  it("leaves the tracer's call out of account", () => {
    expect(uses("call __fentry__; mov $table, %rdi; jmp callee")).toMatchObject([{ kind: "passed" }]);
  });

  it("is unknown where the code cannot be read", () => {
    expect(uses("mov $table, %rax; .byte 0x06; ret")).toBeUndefined();
  });
});

describe("hostile code", () => {
  const object = readElf(
    compileBytes(
      `static const int table[9] = {1, 2}; int look(int i, int *to) { for (int k = 0; k < i; k++) *to += table[k] * printk("%d", k); return table[i & 7]; }\n`,
    ),
    "unit.o",
  );
  const code = object.section(".text.look")!.data;

  it("is followed to an end, whatever it is", () => {
    const source = fc.oneof(
      fc.record({ field: fc.nat(200) }),
      fc.record({ argument: fc.nat(8) }),
      fc.record({ call: fc.nat(200) }),
    );
    const names = fc.constantFrom(undefined, "callee", "__x86_return_thunk", "__fentry__");
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 200 }),
        source,
        fc.nat(300),
        names,
        (bytes, from, entry, name) => {
          addressUses(bytes, from, { entry, targetAt: () => name });
        },
      ),
    );
    fc.assert(
      fc.property(fc.nat(code.length - 1), fc.nat(255), source, names, (at, value, from, name) => {
        const changed = Uint8Array.from(code);
        changed[at] = value;
        addressUses(changed, from, { entry: 16, targetAt: () => name });
      }),
    );
  });
});
