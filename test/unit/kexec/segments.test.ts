import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { RekernelError } from "../../../src/core/errors.ts";
import type { AddressRange } from "../../../src/formats/memory-map.ts";
import { checkSegments } from "../../../src/kexec/segments/check.ts";
import { LayoutBuilder } from "../../../src/kexec/segments/layout.ts";
import { placeSegment, type Wish } from "../../../src/kexec/segments/place.ts";
import { intersect, subtract, union, wholePages } from "../../../src/kexec/segments/ranges.ts";
import { pageSize, type Segment } from "../../../src/kexec/segments/segment.ts";
import { bytesText } from "../../../src/kexec/segments/text.ts";

const range = (start: number, end: number): AddressRange => ({ start: BigInt(start), end: BigInt(end) });
const MiB = 2 ** 20;
const anyRanges = fc.array(
  fc.tuple(fc.nat(60), fc.nat(12)).map(([start, size]) => range(start, start + size)),
);
const has = (ranges: readonly AddressRange[], at: bigint) =>
  ranges.some(({ start, end }) => start <= at && at < end);
const isSet = (ranges: readonly AddressRange[]) =>
  ranges.every(({ start, end }, index) => start < end && (index === 0 || ranges[index - 1]!.end < start));

describe("sets of addresses", () => {
  test.each<[string, AddressRange[], AddressRange[], AddressRange[]]>([
    ["nothing from nothing", [], [], []],
    ["the middle", [range(0, 10)], [range(3, 5)], [range(0, 3), range(5, 10)]],
    ["the beginning", [range(2, 10)], [range(0, 5)], [range(5, 10)]],
    ["the end", [range(2, 10)], [range(8, 15)], [range(2, 8)]],
    ["all of it", [range(2, 10)], [range(2, 10)], []],
    ["more than it", [range(2, 10)], [range(0, 20)], []],
    ["what only touches", [range(2, 10)], [range(0, 2), range(10, 12)], [range(2, 10)]],
    ["one hole over two ranges", [range(0, 4), range(6, 10)], [range(3, 7)], [range(0, 3), range(7, 10)]],
    [
      "many holes, out of order, overlapping",
      [range(0, 20)],
      [range(12, 14), range(2, 4), range(3, 6), range(13, 15)],
      [range(0, 2), range(6, 12), range(15, 20)],
    ],
    ["one hole from many ranges", [range(5, 6), range(0, 2), range(1, 3)], [range(2, 6)], [range(0, 2)]],
  ])("subtract %s", (_, from, taken, expected) => expect(subtract(from, taken)).toEqual(expected));

  test("hold exactly the addresses that they should", () => {
    fc.assert(
      fc.property(anyRanges, anyRanges, (a, b) => {
        const [difference, both, either] = [subtract(a, b), intersect(a, b), union([...a, ...b])];
        for (const set of [difference, both, either]) expect(isSet(set)).toBe(true);
        for (let at = 0n; at < 80n; at++) {
          expect(has(difference, at)).toBe(has(a, at) && !has(b, at));
          expect(has(both, at)).toBe(has(a, at) && has(b, at));
          expect(has(either, at)).toBe(has(a, at) || has(b, at));
        }
      }),
    );
  });

  test("in whole pages", () => {
    expect(wholePages([range(1, 4096), range(4097, 12289), range(0x5000, 0x6000)], 4096)).toEqual([
      range(8192, 12288),
      range(0x5000, 0x6000),
    ]);
  });
});

describe("a place", () => {
  const room = [range(0x1000, 0x9f000), range(1 * MiB, 64 * MiB), range(128 * MiB, 256 * MiB)];
  test.each<[string, Partial<Wish>, number]>([
    ["at the bottom, above 1 MiB", { from: "bottom" }, 1 * MiB],
    ["at the top", { from: "top" }, 255 * MiB],
    ["below an address", { from: "top", max: BigInt(200 * MiB) }, 199 * MiB],
    ["below an address in the hole", { from: "top", max: BigInt(100 * MiB) }, 63 * MiB],
    ["above an address", { from: "bottom", min: BigInt(16 * MiB) }, 16 * MiB],
    ["above an address in the hole", { from: "bottom", min: BigInt(65 * MiB) }, 128 * MiB],
    ["aligned", { from: "bottom", align: 16 * MiB }, 16 * MiB],
    ["aligned, at the top", { from: "top", align: 16 * MiB, max: BigInt(255 * MiB) }, 240 * MiB],
    ["past a range that is too small", { from: "bottom", size: 64 * MiB }, 128 * MiB],
    ["in low memory where that is allowed", { from: "bottom", min: 0n, size: 4096 }, 0x1000],
    ["that fits to the byte", { from: "top", size: 63 * MiB, max: BigInt(128 * MiB) }, 1 * MiB],
    ["at one address only", { from: "bottom", min: BigInt(20 * MiB), max: BigInt(21 * MiB) }, 20 * MiB],
  ])("%s", (_, wish, expected) => {
    expect(placeSegment(room, { name: "kernel", size: MiB, from: "top", ...wish })).toBe(BigInt(expected));
  });

  test.each<[string, Partial<Wish>, RegExp]>([
    [
      "anywhere",
      { size: 200 * MiB },
      /no room for the initrd: it needs 200 MiB in one piece, and the largest free range there is 128 MiB at 0x8000000-0xfffffff\.$/,
    ],
    [
      "below an address",
      { size: 100 * MiB, max: 0x8000000n },
      /needs 100 MiB in one piece, below 0x8000000, and the largest free range there is 63 MiB at 0x100000-0x3ffffff; elsewhere it is 128 MiB at/,
    ],
    [
      "aligned",
      { size: 100 * MiB, align: 1 << 27, min: 0x8100000n },
      /at or above 0x8100000, aligned to 128 MiB, and the largest free range there is 127 MiB/,
    ],
    [
      "where nothing is",
      { min: 1n << 40n },
      /at or above 0x10000000000, and nothing is free there; elsewhere/,
    ],
    [
      "where only one address will do",
      { min: BigInt(63.5 * MiB), max: BigInt(64.5 * MiB) },
      /needs 1 MiB exactly at 0x3f80000-0x407ffff, and the largest free range there is 512 KiB/,
    ],
  ])("that is not to be had %s says what comes closest", (_, wish, message) => {
    expect(() => placeSegment(room, { name: "initrd", size: MiB, from: "top", ...wish })).toThrow(message);
    expect(() => placeSegment([], { name: "initrd", size: MiB, from: "top", ...wish })).toThrow(
      /nothing is free there\.$/,
    );
  });

  test("is free, aligned, within its limits, and nearest to its end, or there is none at all", () => {
    const wishes = fc.record({
      size: fc.integer({ min: 1, max: 20 }),
      align: fc.constantFrom(1, 2, 4, 8),
      min: fc.bigInt(0n, 40n),
      max: fc.bigInt(0n, 80n),
      from: fc.constantFrom("top" as const, "bottom" as const),
    });
    fc.assert(
      fc.property(anyRanges, wishes, (ranges, wish) => {
        const free = union(ranges);
        const fits: bigint[] = [];
        for (let at = wish.min; at + BigInt(wish.size) <= wish.max; at++) {
          const end = at + BigInt(wish.size);
          if (at % BigInt(wish.align) === 0n && free.some((piece) => piece.start <= at && end <= piece.end))
            fits.push(at);
        }
        let found: bigint | undefined;
        try {
          found = placeSegment(free, { name: "segment", ...wish });
        } catch (error) {
          if (!(error instanceof RekernelError)) throw error;
        }
        expect(found).toBe(wish.from === "bottom" ? fits[0] : fits.at(-1));
      }),
      { numRuns: 500 },
    );
  });
});

describe("a layout", () => {
  test("never overlaps, stays in RAM, and is page-aligned, on any fragmented map", () => {
    const pages = fc.array(
      fc.tuple(fc.nat(4000), fc.nat(40), fc.nat(4095)).map(([page, count, odd]) => ({
        start: BigInt(page * pageSize + odd),
        end: BigInt((page + count) * pageSize),
      })),
      { maxLength: 60 },
    );
    const wish = fc.record({
      size: fc.nat(30 * pageSize),
      align: fc.constantFrom(4096, 8192, 1 << 16),
      from: fc.constantFrom("top" as const, "bottom" as const),
    });
    fc.assert(
      fc.property(pages, fc.array(wish, { maxLength: 16 }), (room, wishes) => {
        const layout = new LayoutBuilder(room);
        for (const [index, want] of wishes.entries())
          try {
            layout.add({ name: `segment ${index}`, min: 0n, ...want }, new Uint8Array(want.size));
          } catch (error) {
            if (!(error instanceof RekernelError)) throw error;
          }
        checkSegments(layout.segments, room, undefined);
        for (const { address, memoryBytes, data } of layout.segments) {
          expect(address % 4096n).toBe(0n);
          expect(memoryBytes % 4096).toBe(0);
          expect(memoryBytes).toBeGreaterThanOrEqual(data.length);
          for (const piece of [address, address + BigInt(memoryBytes) - 1n])
            expect(has(room, piece)).toBe(true);
        }
      }),
    );
  });

  test("is ordered by address and keeps reservations for later", () => {
    const layout = new LayoutBuilder([range(1 * MiB, 4 * MiB)]);
    const later = layout.reserve({ name: "boot_params", size: 5000, from: "top" });
    layout.add({ name: "kernel", from: "bottom", size: 2 * MiB }, new Uint8Array(10));
    layout.put("boot_params", later, new Uint8Array(5000));
    expect(layout.segments.map(({ name, address, memoryBytes }) => [name, address, memoryBytes])).toEqual([
      ["kernel", 0x100000n, 2 * MiB],
      ["boot_params", 0x3fe000n, 8192],
    ]);
    expect(() => layout.put("boot_params", later, new Uint8Array(8193))).toThrow(RangeError);
  });
});

describe("what kexec_load would refuse", () => {
  const room = [range(1 * MiB, 16 * MiB)];
  const segment = (name: string, address: number, memoryBytes: number, bytes = 1): Segment => ({
    name,
    address: BigInt(address),
    data: new Uint8Array(bytes),
    memoryBytes,
  });
  const many = Array.from({ length: 17 }, (_, index) => segment("module", (index + 256) * 4096, 4096));
  test.each<[string, Segment[], RegExp]>([
    ["too many", many, /17 segments, and the kernel takes 16 at most/],
    ["between pages", [segment("kernel", 0x100800, 4096)], /kernel at .* does not begin and end with a page/],
    ["a piece of a page", [segment("kernel", 0x100000, 100)], /does not begin and end with a page/],
    ["nothing", [segment("kernel", 0x100000, 0, 0)], /does not begin and end with a page/],
    ["more bytes than memory", [segment("initrd", 0x100000, 4096, 4097)], /initrd has 4097 bytes for 4096/],
    [
      "one over the other",
      [segment("initrd", 0x101000, 4096), segment("kernel", 0x100000, 8192)],
      /kernel and the initrd at 0x101000-0x101fff overlap/,
    ],
    [
      "outside of RAM",
      [segment("kernel", 0xfff000, 8192)],
      /kernel at 0xfff000-0x1000fff does not lie in free RAM/,
    ],
  ])("%s", (_, segments, message) => {
    expect(() => checkSegments(segments, room, undefined)).toThrow(message);
  });

  test("more than half of the RAM", () => {
    const segments = [segment("kernel", 1 * MiB, 4 * MiB), segment("initrd", 8 * MiB, 8 * MiB)];
    expect(() => checkSegments(segments, room, 24 * MiB)).not.toThrow();
    expect(() => checkSegments(segments, room, 24 * MiB - 1)).toThrow(
      /together take 12 MiB \(the initrd 8 MiB\), .* half of its RAM at most: 12\.0 MiB/,
    );
    expect(() => checkSegments(many.slice(1), room, undefined)).not.toThrow();
  });
});

test("sizes in words", () => {
  expect([0, 1023, 1024, 1536, MiB, 1.5 * MiB].map(bytesText)).toEqual([
    "0 bytes",
    "1023 bytes",
    "1 KiB",
    "1.5 KiB",
    "1 MiB",
    "1.5 MiB",
  ]);
});
