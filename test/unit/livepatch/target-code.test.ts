import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readElf } from "../../../src/formats/elf/read.ts";
import { moduleCode, moduleLocation } from "../../../src/livepatch/build/match/target-code.ts";

test("the short and the long jumps of a module lead where they lead", () => {
  const folder = mkdtempSync(join(tmpdir(), "rekernel-test-"));
  try {
    const object = join(folder, "jumps.o");
    const source = ".globl back\nback: ret\nnop\njmp 1f\n.skip 200\n1: jmp 2f\n2: jmp 1b\n";
    execFileSync("gcc", ["-c", "-x", "assembler", "-", "-o", object], { input: source });
    const elf = readElf(readFileSync(object), "jumps.o");
    const text = elf.sections.findIndex(({ name }) => name === ".text");
    const code = moduleCode(elf, "jumps");
    const target = (offset: number, sizeBytes: 1 | 4) =>
      code.fieldTarget(
        moduleLocation(text, BigInt(offset)),
        { name: "branch", sizeBytes, pcRelative: true, signed: true },
        -sizeBytes,
      );
    const at = (offset: number) => ({ location: moduleLocation(text, BigInt(offset)) });
    // e9 and four bytes over what is skipped, then eb 00 forward and eb fc back.
    expect(target(3, 4)).toEqual(at(207));
    expect(target(208, 1)).toEqual(at(209));
    expect(target(210, 1)).toEqual(at(207));
  } finally {
    rmSync(folder, { recursive: true });
  }
});
