import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { RekernelError } from "../../../src/core/errors.ts";
import { parseMemmapEntry } from "../../../src/formats/firmware-memmap.ts";
import {
  claimsOnRam,
  isHiddenIomem,
  memoryOfIomem,
  parseGivenMap,
  parseIomem,
} from "../../../src/formats/iomem.ts";
import {
  e820Types,
  type MemoryKind,
  type MemoryRange,
  resolveMemoryMap,
} from "../../../src/formats/memory-map.ts";

const range = (start: number, end: number, kind: MemoryKind = "ram"): MemoryRange => ({
  start: BigInt(start),
  end: BigInt(end),
  kind,
});

describe("a memory map", () => {
  test.each<[string, MemoryRange[], MemoryRange[]]>([
    ["is put in order", [range(8, 9, "acpi"), range(0, 4)], [range(0, 4), range(8, 9, "acpi")]],
    ["joins neighbours of one kind", [range(0, 4), range(4, 8)], [range(0, 8)]],
    [
      "keeps neighbours of two kinds apart",
      [range(0, 4), range(4, 8, "acpi")],
      [range(0, 4), range(4, 8, "acpi")],
    ],
    ["loses empty ranges", [range(3, 3), range(5, 4)], []],
    [
      "goes by the highest type",
      [range(0, 10), range(4, 6, "reserved"), range(5, 7, "acpi-nvs")],
      [range(0, 4), range(4, 5, "reserved"), range(5, 7, "acpi-nvs"), range(7, 10)],
    ],
    ["takes no hole into account twice", [range(0, 10), range(0, 10), range(2, 3)], [range(0, 10)]],
    [
      "reaches the end of 64 bits",
      [{ start: (1n << 64n) - 1n, end: 1n << 64n, kind: "reserved" }],
      [{ start: (1n << 64n) - 1n, end: 1n << 64n, kind: "reserved" }],
    ],
  ])("%s", (_, given, expected) => expect(resolveMemoryMap(given)).toEqual(expected));

  test("says of every address what the highest of its ranges says", () => {
    const kind = fc.constantFrom(...(Object.keys(e820Types) as MemoryKind[]));
    const ranges = fc.array(
      fc
        .record({ start: fc.nat(40), size: fc.nat(12), kind })
        .map(({ start, size, kind }) => range(start, start + size, kind)),
    );
    fc.assert(
      fc.property(ranges, (given) => {
        const resolved = resolveMemoryMap(given);
        for (let at = 0n; at < 60n; at++) {
          const covering = given
            .filter(({ start, end }) => start <= at && at < end)
            .map(({ kind }) => e820Types[kind]);
          const found = resolved.filter(({ start, end }) => start <= at && at < end);
          expect(found.map(({ kind }) => e820Types[kind])).toEqual(
            covering.length === 0 ? [] : [Math.max(...covering)],
          );
        }
        for (const [index, { start }] of resolved.entries())
          if (index > 0) {
            const before = resolved[index - 1]!;
            expect(
              start > before.end || (start === before.end && before.kind !== resolved[index]!.kind),
            ).toBe(true);
          }
      }),
    );
  });

  test("may have thousands of entries", () => {
    const many = Array.from({ length: 20_000 }, (_, index) =>
      range(index * 4096, (index + 3) * 4096, index % 2 === 0 ? "ram" : "reserved"),
    );
    expect(resolveMemoryMap(many)).toEqual([range(0, 4096), range(4096, 20_002 * 4096, "reserved")]);
  });
});

const iomem = `00000000-00000fff : Reserved
00001000-0009fbff : System RAM
0009fc00-0009ffff : Reserved
000a0000-000bffff : PCI Bus 0000:00
00100000-bffd6fff : System RAM
  02000000-033fffff : Kernel code
  34000000-43ffffff : Crash kernel
  44000000-440fffff : ramoops:dump(0/1)
bffd7000-bffdffff : ACPI Tables
bffe0000-bfffffff : ACPI Non-volatile Storage
c0000000-febfffff : PCI Bus 0000:00
  fd000000-fdffffff : 0000:00:02.0
    fd000000-fd2fffff : efifb
100000000-13fffffff : System RAM
140000000-17fffffff : Persistent Memory
180000000-1bfffffff : Soft Reserved
  180000000-1bfffffff : dax0.0
    180000000-1bfffffff : System RAM (kmem)
`;

describe("/proc/iomem", () => {
  test("gives memory by its kind, and what is claimed of RAM", () => {
    const lines = parseIomem(iomem);
    expect(resolveMemoryMap(memoryOfIomem(lines))).toEqual([
      range(0, 0x1000, "reserved"),
      range(0x1000, 0x9fc00),
      range(0x9fc00, 0xa0000, "reserved"),
      range(0x100000, 0xbffd7000),
      range(0xbffd7000, 0xbffe0000, "acpi"),
      range(0xbffe0000, 0xc0000000, "acpi-nvs"),
      range(0x100000000, 0x140000000),
      range(0x140000000, 0x180000000, "persistent"),
      range(0x180000000, 0x1c0000000, "soft-reserved"),
    ]);
    expect(claimsOnRam(lines)).toEqual([
      { start: 0x34000000n, end: 0x44000000n, name: "Crash kernel" },
      { start: 0x44000000n, end: 0x44100000n, name: "ramoops:dump(0/1)" },
    ]);
  });

  test("is recognized where its addresses are hidden", () => {
    const hidden = iomem.replace(/[0-9a-f]+-[0-9a-f]+ :/g, "00000000-00000000 :");
    expect(isHiddenIomem(parseIomem(hidden))).toBe(true);
    expect(isHiddenIomem(parseIomem(iomem))).toBe(false);
    expect(() => parseGivenMap(hidden, "map.txt")).toThrow(
      /map\.txt: all its addresses are 0: .* without root/,
    );
  });

  test.each([
    ["00001000 System RAM", "line 1 is not of the form"],
    ["00000000-00000fff : Reserved\n-1000-2000 : System RAM", "line 2 is not of the form"],
    ["2000-1fff : System RAM", "line 1 ends before it starts"],
    ["2000-1ffe : System RAM", "line 1 ends before it starts"],
    ["2000-1000 : System RAM", "line 1 ends before it starts"],
    ["0-10000000000000000 : System RAM", "not of the form"],
    ["0-fff : Reserved", "holds no RAM"],
    ["", "holds no RAM"],
    ["\u0000\u0001binary", "not of the form"],
    ["0-ffffffffffffffff : System RAM", undefined],
  ])("%j: %s", (text, problem) => {
    if (problem !== undefined) {
      expect(() => parseGivenMap(text, "map.txt")).toThrow(problem);
      return;
    }
    const [start, last] = text
      .split(" ")[0]!
      .split("-")
      .map((word) => BigInt(`0x${word}`));
    expect(parseGivenMap(text, "map.txt")[0]).toMatchObject({ start, end: last! + 1n });
  });

  test("throws nothing but RekernelError for any text", () => {
    const line = fc.oneof(
      fc.string(),
      fc
        .tuple(
          fc.bigInt(0n, 1n << 66n),
          fc.bigInt(0n, 1n << 66n),
          fc.constantFrom("System RAM", "Reserved", "x"),
        )
        .map(([start, end, name]) => `${start.toString(16)}-${end.toString(16)} : ${name}`),
    );
    fc.assert(
      fc.property(fc.array(line), (lines) => {
        try {
          resolveMemoryMap(memoryOfIomem(parseGivenMap(lines.join("\n"), "map")));
        } catch (error) {
          if (!(error instanceof RekernelError)) throw error;
          expect(error.code).toBe("RK-BAD-MEMORY-MAP");
        }
      }),
    );
  });

  test("has an end", () => {
    expect(() => parseIomem("0-fff : Reserved\n".repeat(200_001))).toThrow("more than 200000 lines");
  });
});

describe("the map in a kernel's log", () => {
  test("is read from 6.12's form, among other lines, and from the newer one", () => {
    const log = `[    0.000000] Linux version 6.12.117
[    0.000000] BIOS-provided physical RAM map:
[    0.000000] BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable
[    0.000000] BIOS-e820: [mem 0x000000000009fc00-0x000000000009ffff] reserved
[    0.000000] BIOS-e820: [mem 0x0000000000100000-0x000000003ffdffff] usable
[    0.000000] BIOS-e820: [mem 0x000000003ffe0000-0x000000003fffffff] ACPI data
[    0.000000] BIOS-e820: [mem 0x0000000040000000-0x000000004fffffff] persistent (type 12)
[    0.000000] BIOS-e820: [mem 0x0000000050000000-0x000000005fffffff] type 20
[    0.000000] user: [mem 0x0000000000000000-0x000000000fffffff] usable
`;
    expect(memoryOfIomem(parseGivenMap(log, "log"))).toEqual([
      range(0, 0x9fc00),
      range(0x9fc00, 0xa0000, "reserved"),
      range(0x100000, 0x3ffe0000),
      range(0x3ffe0000, 0x40000000, "acpi"),
      range(0x40000000, 0x50000000, "persistent-legacy"),
      range(0x50000000, 0x60000000, "reserved"),
    ]);
    const newer = "BIOS-e820: [mem 0x0000000000100000-0x000000003ffdffff]  1023.9 MB System RAM\n";
    expect(memoryOfIomem(parseGivenMap(newer, "log"))).toEqual([range(0x100000, 0x3ffe0000)]);
  });
});

describe("an entry of /sys/firmware/memmap", () => {
  test.each([
    ["0x100000", "0x3ffdffff", "System RAM", range(0x100000, 0x3ffe0000)],
    ["0x0", "0xfff", "Something new", range(0, 0x1000, "reserved")],
    ["0x0", "0x0", "Persistent Memory (legacy)", range(0, 1, "persistent-legacy")],
    ["0x2000", "0x1000", "System RAM", undefined],
    ["-0x1", "0x1000", "System RAM", undefined],
    ["", "", "", undefined],
    ["0x10000000000000000", "0x10000000000000001", "System RAM", undefined],
  ])("%s to %s, %s", (start, end, type, expected) =>
    expect(parseMemmapEntry(start, end, type)).toEqual(expected),
  );
});
