/** Pairs of objects that are compiled from one small source, without and with -DPATCHED, by whatever compilers are here. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { R_X86_64_PC32, R_X86_64_PLT32, SHT_RELA } from "../../../../src/formats/elf/constants.ts";
import { readElf } from "../../../../src/formats/elf/read.ts";
import { diffObjects, type ObjectDiff } from "../../../../src/livepatch/build/object-diff.ts";
import { macros } from "./macros.ts";

export interface Pair {
  name: string;
  /** C, in which `PATCHED` is defined for the patched object. */
  source: string;
  /** The same for the patched object alone, where line numbers are what the case is about. */
  patched?: string;
  verdict: ObjectDiff["verdict"];
  changed?: string[];
  new?: string[];
  /** Codes of the refusals. */
  codes?: string[];
  /** Entries that come along, by function and table; tables that are not named do not matter. */
  tables?: Record<string, Record<string, number>>;
  /** Pieces that have to come along, and ones that must not. */
  brings?: string[];
  leaves?: string[];
  flags?: string[];
  /** Where the compilers make different code of it. */
  only?: "gcc" | "clang";
  /** The oldest compiler that makes this code of it. */
  since?: number;
}

interface Compiler {
  command: string;
  kind: "gcc" | "clang";
  version: number;
}

const commonFlags = [
  "-O2",
  "-ffunction-sections",
  "-fdata-sections",
  "-mcmodel=kernel",
  "-mno-red-zone",
  "-fno-asynchronous-unwind-tables",
  "-fno-common",
  "-fno-strict-aliasing",
  "-mno-sse",
  "-pg",
  "-mfentry",
  "-w",
];
const flagsOf = { gcc: ["-fno-PIE", "-mrecord-mcount"], clang: ["-fno-pie", "-fno-addrsig"] };

/** What the same object looks like after other tools; the answer must not change. */
const treatments: Record<string, (folder: string, from: string, to: string) => void> = {
  "ld -r": (folder, from, to) => run("ld", ["-r", "-o", to, from], folder),
  "strip --strip-debug": (folder, from, to) => run("strip", ["--strip-debug", "-o", to, from], folder),
};

const commands = [
  "gcc",
  ...range(8, 16).map((n) => `gcc-${n}`),
  "clang",
  ...range(11, 22).map((n) => `clang-${n}`),
];

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, index) => from + index);
}

/** One of each version; gcc is always there. */
function installed(): Compiler[] {
  const found = new Map<string, Compiler>();
  for (const command of commands) {
    const { stdout } = spawnSync(command, ["-dumpversion"], { encoding: "utf8" });
    const version = Number.parseInt(stdout ?? "", 10);
    const kind = command.startsWith("gcc") ? "gcc" : "clang";
    if (version > 0 && !found.has(`${kind} ${version}`))
      found.set(`${kind} ${version}`, { command, kind, version });
  }
  return [...found.values()];
}

/** Calls as binutils before 2.31 wrote them. */
function withPlainCalls(bytes: Uint8Array): Uint8Array {
  const plain = Buffer.from(bytes);
  for (const section of readElf(bytes, "object").sections)
    if (section.type === SHT_RELA)
      for (let at = section.offset; at < section.offset + section.size; at += 24)
        if (plain.readUInt32LE(at + 8) === R_X86_64_PLT32) plain.writeUInt32LE(R_X86_64_PC32, at + 8);
  return plain;
}

function run(command: string, args: readonly string[], cwd: string): void {
  execFileSync(command, args, { cwd, stdio: ["ignore", "ignore", "pipe"] });
}

function compilePair(pair: Pair, compiler: Compiler, folder: string): void {
  for (const side of ["original", "patched"]) {
    const isPatched = side === "patched";
    // One name for both: __FILE__ must not differ.
    writeFileSync(join(folder, "unit.c"), macros + (isPatched ? (pair.patched ?? pair.source) : pair.source));
    const define = isPatched ? ["-DPATCHED"] : [];
    const flags = [...commonFlags, ...flagsOf[compiler.kind], ...(pair.flags ?? []), ...define];
    run(compiler.command, [...flags, "-c", "unit.c", "-o", `${side}.o`], folder);
  }
}

function diffIn(folder: string, suffix = ".o", treatOriginal = (bytes: Uint8Array) => bytes): ObjectDiff {
  const [original, patched] = ["original", "patched"].map((side) => join(folder, side + suffix));
  return diffObjects(treatOriginal(readFileSync(original!)), readFileSync(patched!), {
    original: original!,
    patched: patched!,
  });
}

function listsOf({ verdict, changed, new: added }: ObjectDiff) {
  return { verdict, changed: changed.toSorted(), new: added.toSorted() };
}

function check(pair: Pair, diff: ObjectDiff): void {
  const reasons = JSON.stringify(diff.reasons, null, 1);
  expect(listsOf(diff), reasons).toEqual({
    verdict: pair.verdict,
    changed: (pair.changed ?? []).toSorted(),
    new: (pair.new ?? []).toSorted(),
  });
  if (pair.codes) {
    const codes = diff.reasons.flatMap(({ code }) => code ?? []);
    expect([...new Set(codes)].toSorted(), reasons).toEqual(pair.codes.toSorted());
  }
  const included = new Map(diff.included.map((piece) => [piece.name, piece]));
  for (const [name, tables] of Object.entries(pair.tables ?? {}))
    expect(included.get(name)?.tables, name).toMatchObject(tables);
  for (const name of pair.brings ?? []) expect([...included.keys()]).toContain(name);
  for (const name of pair.leaves ?? []) expect([...included.keys()]).not.toContain(name);
}

/** Runs a table of pairs with each compiler that is installed. */
export function testPairs(topic: string, pairs: readonly Pair[]): void {
  const compilers = installed();
  for (const kind of ["gcc", "clang"] as const)
    if (!compilers.some((compiler) => compiler.kind === kind))
      it.skip(`${topic}: no ${kind} is installed`, () => {});
  for (const compiler of compilers)
    describe(`${topic}, ${compiler.kind} ${compiler.version}`, () => {
      const fits = (pair: Pair) =>
        (pair.only ?? compiler.kind) === compiler.kind &&
        (pair.only === undefined || compiler.version >= (pair.since ?? 0));
      for (const pair of pairs.filter(fits))
        it(pair.name, () => {
          const folder = mkdtempSync(join(tmpdir(), "rekernel-test-"));
          try {
            compilePair(pair, compiler, folder);
            const diff = diffIn(folder);
            check(pair, diff);
            const isSame = (other: ObjectDiff, treatment: string) =>
              expect(listsOf(other), treatment).toEqual(listsOf(diff));
            for (const [name, treat] of Object.entries(treatments)) {
              for (const side of ["original", "patched"]) treat(folder, `${side}.o`, `${side}.treated.o`);
              isSame(diffIn(folder, ".treated.o"), name);
            }
            isSame(diffIn(folder, ".o", withPlainCalls), "R_X86_64_PC32");
          } finally {
            rmSync(folder, { recursive: true });
          }
        });
    });
}
