import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { RekernelError } from "../../../src/core/errors.ts";
import { boundedString, Cursor } from "../../../src/formats/dwarf/cursor.ts";
import { DwarfInfo } from "../../../src/formats/dwarf/info.ts";
import { badDwarf } from "../../../src/formats/dwarf/sections.ts";
import { readElf } from "../../../src/formats/elf/read.ts";
import { findTypeChanges } from "../../../src/livepatch/build/types/changes.ts";
import { readDebugInfo } from "../../../src/livepatch/build/types/debug-info.ts";
import { compileUnit } from "../livepatch/types/compile-with-debug-info.ts";

const source = `
struct item { int a:3, b:5; struct item *next; union { long x; char bytes[8]; }; enum { RED, BLUE = -7 } color; };
typedef struct { struct item items[4]; int (*call)(struct item *, ...); } list_t;
static list_t list;
enum wide { HUGE = 0xfedcba9876543210UL, SMALL = 1 };
static inline __attribute__((always_inline)) int weight(struct item *i) { return i->a + i->b; }
int sum(int n) { int total = 0; for (int i = 0; i < n; i++) total += weight(&list.items[i]); return total; }
__attribute__((cold)) void fail(void);
enum wide check(int n) { if (__builtin_expect(n == 3, 0)) { fail(); return SMALL; } return sum(n) ? HUGE : SMALL; }
`;

const objects = [
  "-gdwarf-2",
  "-gdwarf-4",
  "-gdwarf-5",
  "-gdwarf-5 -gdwarf64",
  "-gdwarf-4 -fdebug-types-section",
  "-gdwarf-5 -fdebug-types-section",
].map((flags) => compileUnit(source, flags.split(" ")));

/** Everything that anybody asks of debug information. */
function readAll(bytes: Uint8Array): void {
  const info = readDebugInfo(bytes, "unit.o");
  if (!info) return;
  info.carriersOf("weight");
  info.placeOf("sum");
  const again = readDebugInfo(bytes, "again.o")!;
  findTypeChanges([{ source: "unit.c", original: info, patched: again }]);
}

describe("DWARF", () => {
  it("has constants of all widths", () => {
    for (const bytes of objects) {
      const { types } = readDebugInfo(bytes, "unit.o")!;
      const [wide] = types.definitions.get("enum wide")!;
      expect(wide!.enumerators.map(({ value }) => BigInt.asUintN(64, value))).toEqual([
        0xfedcba9876543210n,
        1n,
      ]);
      const [item] = types.definitions.get("struct item")!;
      expect(item!.members.map(({ name, bitOffset, bitSize }) => [name, bitOffset, bitSize])).toEqual([
        ["a", 0, 3],
        ["b", 3, 5],
        ["next", 64, undefined],
        ["", 128, undefined],
        ["color", 192, undefined],
      ]);
      expect(item!.members[4]!.type!.enumerators.map(({ value }) => BigInt.asIntN(32, value))).toEqual([
        0n,
        -7n,
      ]);
    }
  });

  it("reads numbers as they are written", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 53n), max: 2n ** 53n - 1n }), (value) => {
        const fail = (reason: string) => badDwarf("bytes", reason);
        expect(BigInt(new Cursor(leb(value, true), fail).sleb())).toBe(value);
        if (value >= 0n) expect(BigInt(new Cursor(leb(value, false), fail).uleb())).toBe(value);
      }),
    );
  });

  it("cuts endless strings", () => {
    expect(boundedString(new Uint8Array(100_000).fill(65), 10)).toHaveLength(4096);
    expect(boundedString(new Uint8Array(3), 2 ** 60)).toBe("");
  });

  it("of mutated objects is read or refused", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: objects.length - 1 }),
        fc.array(
          fc.record({
            at: fc.double({ min: 0, max: 1, noNaN: true }),
            value: fc.integer({ min: 0, max: 255 }),
          }),
          {
            minLength: 1,
            maxLength: 12,
          },
        ),
        (which, changes) => {
          const bytes = Uint8Array.from(objects[which]!);
          const sections = readElf(bytes).sections.filter(({ name }) => name.includes("debug"));
          for (const { at, value } of changes) {
            const section = sections[Math.floor(at * sections.length) % sections.length]!;
            if (section.size === 0) continue;
            const within = (at * sections.length) % 1;
            bytes[section.offset + (Math.floor(within * section.size) % section.size)] = value;
          }
          try {
            readAll(bytes);
          } catch (error) {
            expect(error).toBeInstanceOf(RekernelError);
          }
        },
      ),
      { numRuns: 400 },
    );
  });

  it("of arbitrary bytes is read or refused", () => {
    const elf = readElf(objects[2]!);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (garbage) => {
        const bytes = Uint8Array.from(objects[2]!);
        for (const name of [".debug_info", ".debug_abbrev"]) {
          const { offset, size } = elf.section(name)!;
          bytes.set(garbage.subarray(0, size), offset + 12);
        }
        try {
          new DwarfInfo(readElf(bytes));
        } catch (error) {
          expect(error).toBeInstanceOf(RekernelError);
        }
      }),
    );
  });
});

function leb(value: bigint, signed: boolean): Uint8Array {
  const bytes: number[] = [];
  for (let rest = value; ; ) {
    const byte = Number(rest & 0x7fn);
    rest >>= 7n;
    const isLast = signed ? (rest === 0n && byte < 0x40) || (rest === -1n && byte >= 0x40) : rest === 0n;
    bytes.push(isLast ? byte : byte | 0x80);
    if (isLast) return Uint8Array.from(bytes);
  }
}
