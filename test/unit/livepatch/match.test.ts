import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readElf } from "../../../src/formats/elf/read.ts";
import { matchUnit, type TargetCode } from "../../../src/livepatch/build/match/match.ts";
import { readUnitObject } from "../../../src/livepatch/build/object/object.ts";
import { compileBytes } from "./compile.ts";

/** A linked program in the kernel's place, whose symbols are known but for these. */
function linked(object: Uint8Array, nameless: RegExp): TargetCode {
  const folder = mkdtempSync(join(tmpdir(), "rekernel-test-"));
  try {
    const data = ["kallsyms_names", "kallsyms_markers", "other_table"];
    const tables = data.map((name) => `.globl ${name}\n${name}: .quad 1\n`).join("");
    const rest = `.globl __fentry__\n__fentry__: ret\n.data\n${tables}.section .note.GNU-stack\n`;
    writeFileSync(join(folder, "unit.o"), object);
    execFileSync("gcc", ["-c", "-x", "assembler", "-", "-o", join(folder, "rest.o")], { input: rest });
    const base = "-Ttext=0xffffffff81000000";
    execFileSync("ld", [base, "-e", "0", "unit.o", "rest.o", "-o", "vmlinux"], { cwd: folder });
    const elf = readElf(readFileSync(join(folder, "vmlinux")), "vmlinux");
    const symbols = elf.symbols
      .filter(({ name, shndx }) => name !== "" && shndx !== 0 && !nameless.test(name))
      .map(({ name, value }) => ({ name, location: value, sympos: 0, isGlobal: true }));
    const read = (location: bigint, sizeBytes: number) => {
      const section = elf.sections.find(
        ({ address, data: bytes }) => location >= address && location < address + BigInt(bytes.length),
      );
      return section?.data.subarray(Number(location - section.address)).subarray(0, sizeBytes);
    };
    return {
      object: "vmlinux",
      symbolsNamed: (name) => symbols.filter((symbol) => symbol.name === name),
      symbolsAt: (location) => symbols.filter((symbol) => symbol.location === location),
      read,
      fieldTarget: (location, kind, addend) => {
        const bytes = Buffer.from(read(location, kind.sizeBytes)!);
        const value = kind.sizeBytes === 8 ? bytes.readBigInt64LE() : BigInt(bytes.readInt32LE());
        return {
          location: BigInt.asUintN(64, value - BigInt(addend) + (kind.pcRelative ? location : 0n)),
        };
      },
    };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const source = `extern const int kallsyms_names[], kallsyms_markers[], other_table[];
int first(int i) { return kallsyms_names[i]; }
int second(int i) { return kallsyms_names[i] + kallsyms_markers[i]; }
int third(int i) { return other_table[i]; }
`;

function statuses(original: string, target: TargetCode): string[] {
  const { functions } = matchUnit(readUnitObject(compileBytes(original), "unit.o"), target);
  return [...functions.values()].map(({ piece, status }) => `${piece.name} ${status}`);
}

test("the tables of kallsyms have no name in it, other data has", () => {
  const object = compileBytes(source);
  const identical = ["first identical", "second identical", "third identical"];
  expect(statuses(source, linked(object, /^$/))).toEqual(identical);
  expect(statuses(source, linked(object, /^kallsyms_/))).toEqual(identical);
  expect(statuses(source, linked(object, /^other_table$/))).toEqual([
    "first identical",
    "second identical",
    "third different",
  ]);
});

test("such a table is at one place only", () => {
  const target = linked(compileBytes(source), /^kallsyms_/);
  const swapped = source.replace("kallsyms_names[i] +", "kallsyms_token_index[i] +");
  const declared = swapped.replace("other_table[];", "other_table[], kallsyms_token_index[];");
  expect(statuses(declared, target)).toContain("second different");
});
