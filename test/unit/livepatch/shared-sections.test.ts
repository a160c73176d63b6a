import { spawnSync } from "node:child_process";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { RekernelError } from "../../../src/core/errors.ts";
import { R_X86_64_PC32, SHF_EXECINSTR, STT_SECTION } from "../../../src/formats/elf/constants.ts";
import { toOutputObject } from "../../../src/formats/elf/edit.ts";
import { readElf } from "../../../src/formats/elf/read.ts";
import { type OutputSection, type OutputSymbol, writeElf } from "../../../src/formats/elf/write.ts";
import { differenceOf } from "../../../src/livepatch/build/difference/difference.ts";
import { includedPieces } from "../../../src/livepatch/build/module/inclusion.ts";
import {
  isPieceTarget,
  type Piece,
  readUnitObject,
  type UnitObject,
} from "../../../src/livepatch/build/object/object.ts";
import { shortBranchProblem } from "../../../src/livepatch/build/object/short-branches.ts";
import { diffObjects } from "../../../src/livepatch/build/object-diff.ts";
import { compile, compileBytes, compileWith } from "./compile.ts";

const sched = `#define __sched __attribute__((section(".sched.text")))
int limit = 10;
`;
/** Enough instructions that a jump over them is not short. */
const bulk = (times: number) =>
  Array.from(
    { length: times },
    (_, index) => `x ^= x * ${index + 3}; limit += x >> ${(index % 7) + 1};`,
  ).join(" ");

const source = `${sched}
static noinline __sched int last(int x) { return x * 3 + limit; }
static noinline __sched int middle(int x) { limit++; return printk("%d", x); }
__sched int tail(int x) { limit = x; return last(x + 1); }
__sched int caller(int x) { if (x > 5) WARN(1); return last(x) + middle(x + 1); }
`;
const diff = (patched: string, original = source) =>
  diffObjects(compileBytes(original), compileBytes(patched), { original: "a.o", patched: "b.o" });

function referencesOf(object: UnitObject, name: string) {
  return object.byName.get(name)!.references.map(({ target, branch }) => ({
    to: isPieceTarget(target) ? target.piece.name : target.symbol,
    distance: isPieceTarget(target) ? target.addend - target.piece.entry : target.addend,
    branch,
  }));
}

describe("functions that share a section", () => {
  it("have references to each other, though the object has no relocations for them", () => {
    const object = compile(source);
    expect(referencesOf(object, "caller")).toEqual(
      expect.arrayContaining([
        { to: "last", distance: -4, branch: true },
        { to: "middle", distance: -4, branch: true },
      ]),
    );
    expect(referencesOf(object, "tail")).toContainEqual({ to: "last", distance: -1, branch: true });
    expect(object.byName.get("caller")).toMatchObject({ shared: true, entry: 16 });
  });

  it("change alone when one of them does", () => {
    expect(diff(source)).toMatchObject({ verdict: "unchanged", reasons: [] });
    expect(diff(source.replace("x * 3", "x * 5"))).toMatchObject({ verdict: "patchable", changed: ["last"] });
    expect(diff(source.replace("last(x) +", "middle(x) +"))).toMatchObject({ changed: ["caller"] });
    expect(diff(source.replace("x * 3 + limit", "limit - x / 7"))).toMatchObject({ changed: ["last"] });
  });

  it("are the same when only the sizes of their jumps differ", () => {
    const grown = source.replace("limit++;", `limit++; ${bulk(30)}`);
    const [short, near] = [compile(source), compile(grown)].map((object) => {
      const { references, start, end, entry } = object.byName.get("tail")!;
      return {
        sizeBytes: end - start - entry,
        type: references.find(({ target }) => isPieceTarget(target) && target.piece.name === "last")!.type,
      };
    });
    expect(near!.type).not.toBe(short!.type);
    expect(near!.sizeBytes).toBeGreaterThan(short!.sizeBytes);
    expect(diff(grown)).toMatchObject({ changed: ["middle"] });
    // Tables point behind the jump: the entries move with the instructions.
    const [before, after] = [source, grown].map((text) =>
      text.replace(
        "limit = x; return last(x + 1);",
        'limit = x; if (x > 7) return last(x + 1); WARN(3); limit *= x; return printk("%d", x);',
      ),
    );
    expect(diff(after!, before!)).toMatchObject({ changed: ["middle"] });
    expect(diff(after!.replace("WARN(3)", "WARN(5)"), before!)).toMatchObject({
      changed: ["middle", "tail"],
    });
    expect(diff(after!.replace("return last(x + 1)", "return middle(x + 1)"), before!)).toMatchObject({
      changed: ["middle", "tail"],
    });
  });

  it("may be new, and may go", () => {
    const patched = source
      .replace(
        "__sched int caller",
        'static noinline __sched int fresh(int x) { return printk("new %d", x) + last(x); }\n__sched int caller',
      )
      .replace("+ middle(x + 1)", "+ fresh(x + 1)");
    expect(diff(patched)).toMatchObject({
      verdict: "patchable",
      changed: ["caller"],
      new: ["fresh"],
      removed: ["middle"],
    });
    expect(diff(source, patched)).toMatchObject({
      verdict: "patchable",
      changed: ["caller"],
      new: ["middle"],
      removed: ["fresh"],
    });
  });

  it("get near jumps behind them for the short ones", () => {
    const [before, after] = [compile(source), compile(source.replace("limit = x;", "limit = x + 1;"))];
    const [included] = includedPieces(differenceOf(before, after), after, () => true);
    expect(included!.piece.name).toBe("tail");
    const { piece, bytes, references } = included!;
    const size = piece.end - piece.start;
    expect(bytes.length).toBe(size + 5);
    const short = piece.references.find(({ type }) => type === piece.arch.shortBranch)!;
    expect(short.offset + 1 + Buffer.from(bytes).readInt8(short.offset)).toBe(size);
    expect(bytes[size]).toBe(0xe9);
    expect(references.at(-1)).toMatchObject({
      offset: size + 1,
      type: piece.arch.nearBranch,
      destination: { kind: "original", piece: before.byName.get("last") },
    });
    const entryOf = ({ entry }: Piece) => entry;
    expect(references.at(-1)!.destination.addend).toBe(entryOf(before.byName.get("last")!) - 4);
  });

  it("are refused where a short jump reaches neither its target nor the end", () => {
    const long = `${sched}
static noinline __sched int last(int x) { return x * 3 + limit; }
__sched int early(int x) { if (__builtin_expect(x > 5, 1)) return last(x + 1); ${bulk(40)} return x; }
`;
    const patched = compile(long);
    const early = patched.byName.get("early")!;
    expect(early.references.some(({ type }) => type === early.arch.shortBranch)).toBe(true);
    expect(shortBranchProblem(early)).toMatchObject({ code: "RK-SHARED-SECTION", subject: "early" });
    expect(diff(long.replace("x > 5", "x > 6"), long)).toMatchObject({
      verdict: "refused",
      changed: ["early"],
      reasons: expect.arrayContaining([expect.objectContaining({ code: "RK-SHARED-SECTION" })]),
    });
  });
});

const whole = `
static int table[] = { 1, 2, 3 };
static int counter;
int shared_limit = 4;
static const char *const names[] = { "one", "two", "three" };
static const int sizes[] = { 10, 20, 30, 40 };
static noinline int helper(int x) { static int calls; return x * 3 + table[x % 3] + ++calls; }
static noinline int second(int x) { counter += x; return printk("second %d", counter); }
int choose(int x) { switch (x) { case 0: return helper(1); case 1: return second(2); case 2: return second(7); case 3: return helper(9); case 4: return shared_limit; case 5: return printk("five"); } return sizes[x & 3]; }
const char *name(int x) { return names[x % 3]; }
int other(int x) { if (x > 100) WARN(1); return second(x) - helper(x); }
static int __attribute__((cold)) rare(int x) { return printk("rare %d", x) + counter; }
int user(int x) { return x > 3 ? rare(x) : helper(x + 1); }
int __init setup(void) { return helper(1); }
`;
const edits: [string, (text: string) => string][] = [
  ["nothing", (text) => `/* why */\n${text}`],
  ["a body", (text) => text.replace("x * 3", "x * 5")],
  [
    "a body that grows",
    (text) => text.replace("counter += x;", `${bulk(30).replaceAll("limit", "counter")} counter += x;`),
  ],
  ["a string", (text) => text.replace("second %d", "SECOND %d")],
  ["a constant", (text) => text.replace("10, 20", "10, 25")],
  ["a string in a table", (text) => text.replace('"two"', '"TWO"')],
  ["a case", (text) => text.replace("return second(7)", "return second(8)")],
  [
    "the order of cases",
    (text) =>
      text.replace(
        "case 1: return second(2); case 2: return second(7)",
        "case 2: return second(2); case 1: return second(7)",
      ),
  ],
  [
    "a new function",
    (text) =>
      text
        .replace(
          "int other",
          'static noinline int fresh(int x) { static int seen; return printk("new") + seen++ + x; }\nint other',
        )
        .replace("second(x) -", "fresh(x) -"),
  ],
  [
    "a new variable before others",
    (text) => `static int first = 7;\n${text.replace("return helper(9)", "return first++ + sizes[2]")}`,
  ],
  ["a function that goes", (text) => text.replace("? rare(x)", "? second(x)")],
  ["a cold function", (text) => text.replace("rare %d", "very rare %d")],
];
const compilers = [
  { name: "gcc", compiler: "gcc", flags: [] },
  { name: "gcc, switch tables", compiler: "gcc", flags: ["-fjump-tables", "-fcf-protection=none"] },
  { name: "clang", compiler: "clang-16", flags: [] },
].map((each) => ({ ...each, isInstalled: spawnSync(each.compiler, ["--version"]).status === 0 }));

/** The same object as assemblers and linkers write it that leave section symbols out. */
function withoutSectionSymbols(bytes: Uint8Array): Uint8Array {
  const object = toOutputObject(readElf(bytes, "unit.o"));
  const labels = new Map<OutputSection, OutputSymbol>();
  const labelOf = (section: OutputSection): OutputSymbol => {
    const known = labels.get(section);
    if (known) return known;
    const label = { name: `.L${labels.size}`, value: 0n, size: 0, bind: 0, type: 0, visibility: 0, section };
    labels.set(section, label);
    return label;
  };
  for (const { relocations, flags } of object.sections)
    for (const relocation of relocations) {
      const { section, type } = relocation.symbol;
      if (type !== STT_SECTION || typeof section === "number") continue;
      const isCode = (flags & SHF_EXECINSTR) !== 0;
      const pointed = BigInt(relocation.addend + (isCode && relocation.type === R_X86_64_PC32 ? 4 : 0));
      const named = object.symbols.find(
        (symbol) =>
          symbol.section === section &&
          symbol.value <= pointed &&
          pointed < symbol.value + BigInt(symbol.size),
      );
      relocation.symbol = named ?? labelOf(section);
      relocation.addend -= Number(relocation.symbol.value);
    }
  object.symbols = [...labels.values(), ...object.symbols.filter(({ type }) => type !== STT_SECTION)];
  return writeElf(object);
}

describe.each(compilers)(
  "objects without a section for each function: $name",
  ({ compiler, flags, isInstalled }) => {
    const split = ["-ffunction-sections", "-fdata-sections"];
    const joined = ["-fno-function-sections", "-fno-data-sections"];
    const known = new Map<string, Uint8Array>();
    const read = (text: string, sections: readonly string[]) => {
      const key = `${sections} ${text}`;
      const bytes = known.get(key) ?? compileWith(compiler, [...flags, ...sections], text);
      known.set(key, bytes);
      return bytes;
    };

    it.skipIf(!isInstalled)("hold several functions in .text", () => {
      const object = readUnitObject(read(whole, joined), "a.o");
      expect(object.byName.get("choose")).toMatchObject({ shared: true, section: { name: ".text" } });
    });

    it.skipIf(!isInstalled).each(edits)("change as the others do: %s", (what, edit) => {
      const [asSplit, asJoined] = [split, joined].map((sections) => {
        const names = { original: "a.o", patched: "b.o" };
        const result = diffObjects(read(whole, sections), read(edit(whole), sections), names);
        const { verdict, changed, new: added, removed, reasons } = result;
        return {
          verdict,
          changed: changed.sort(),
          added: added.sort(),
          removed: removed.sort(),
          codes: reasons.flatMap(({ code }) => code ?? []),
        };
      });
      expect(asJoined).toEqual(asSplit);
      expect(asSplit!.changed.length > 0).toBe(what !== "nothing");
    });

    it.skipIf(!isInstalled).each([
      ["split", split],
      ["joined", joined],
    ])("are the same by other names of the same places (%s)", (_what, sections) => {
      const names = { original: "a.o", patched: "b.o" };
      const original = read(whole, sections);
      const renamed = withoutSectionSymbols(original);
      expect(readElf(renamed, "b.o").symbols.some(({ type }) => type === STT_SECTION)).toBe(false);
      expect(diffObjects(original, renamed, names)).toMatchObject({ verdict: "unchanged", reasons: [] });
      for (const [, edit] of edits) {
        const patched = read(edit(whole), sections);
        const expected = diffObjects(original, patched, names);
        expect(diffObjects(original, withoutSectionSymbols(patched), names)).toEqual(expected);
      }
    });
  },
);

it("ends in a verdict or a clear error for every mutation of an object with shared sections", () => {
  const object = compileWith("gcc", ["-fno-function-sections", "-fno-data-sections"], whole);
  const places = fc.array(fc.tuple(fc.nat(object.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 });
  fc.assert(
    fc.property(places, (changes) => {
      const mutated = Uint8Array.from(object);
      for (const [at, byte] of changes) mutated[at] = byte;
      try {
        diffObjects(object, mutated, { original: "a.o", patched: "b.o" });
      } catch (error) {
        if (!(error instanceof RekernelError)) throw error;
      }
    }),
    { numRuns: 150 },
  );
});

it("says so when an object is for a processor that it does not know", () => {
  const bytes = compileBytes(source);
  // e_machine: s390x, arm64, ppc64.
  for (const machine of [22, 183, 21]) {
    new DataView(bytes.buffer, bytes.byteOffset).setUint16(18, machine, true);
    expect(() => readUnitObject(bytes, "other.o")).toThrow(
      expect.objectContaining({
        code: "RK-BAD-OBJECT",
        message: expect.stringContaining("for another architecture"),
      }),
    );
  }
});
