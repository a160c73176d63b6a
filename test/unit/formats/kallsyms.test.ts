import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { findKallsyms } from "../../../src/formats/kallsyms.ts";
import { buildKallsyms, type KallsymsShape, sampleSymbols } from "./build-kallsyms.ts";

const at = 0xffffffff82000000n;
const shapes: KallsymsShape[] = (["6.1", "6.2", "6.4"] as const).flatMap((layout) =>
  (["absolute-percpu", "relative", "from-place"] as const).map((meaning) => ({ layout, meaning })),
);

function place(tables: Buffer, before: number, after: number): Uint8Array {
  // What stands around the tables is text and zeros, as in .rodata.
  return Buffer.concat([Buffer.alloc(before, "constant\0"), tables, Buffer.alloc(after)]);
}

function entriesOf(bytes: Uint8Array, address: bigint) {
  const found = findKallsyms(bytes, address);
  return found && Array.from({ length: found.length }, (_, index) => found.entry(index));
}

describe("findKallsyms", () => {
  test.each(shapes)("reads layout $layout with $meaning offsets", (shape) => {
    for (const count of [300, 512, 513, 2000]) {
      const symbols = sampleSymbols(count, shape.meaning === "absolute-percpu");
      const bytes = place(buildKallsyms(symbols, shape, at + 4096n), 4096, 1000);
      expect(entriesOf(bytes, at)).toEqual(symbols);
    }
  });

  test("reads tables in a section that is not aligned to 8 itself", () => {
    const symbols = sampleSymbols(400, false);
    const shape = { layout: "6.4", meaning: "relative" } as const;
    const bytes = place(buildKallsyms(symbols, shape, at + 8n), 4, 64);
    expect(entriesOf(bytes, at + 4n)).toEqual(symbols);
  });

  test("reads any names", () => {
    const name = fc.string({
      unit: fc.constantFrom(..."abcdefgh_.$019tTpcsyin"),
      minLength: 1,
      maxLength: 90,
    });
    fc.assert(
      fc.property(
        fc.array(name, { minLength: 257, maxLength: 600 }),
        fc.constantFrom(...shapes),
        (names, shape) => {
          const symbols = names.map((text, index) => ({
            name: text,
            type: "tTbBdDrR"[text.length % 8]!,
            address: 0xffffffff81000000n + BigInt(index * 16),
          }));
          expect(entriesOf(place(buildKallsyms(symbols, shape, at), 0, 16), at)).toEqual(symbols);
        },
      ),
      { numRuns: 60 },
    );
  });

  test("finds nothing in other bytes", () => {
    expect(findKallsyms(new Uint8Array(0), at)).toBeUndefined();
    expect(findKallsyms(new Uint8Array(1 << 16), at)).toBeUndefined();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 8192 }), (bytes) => {
        expect(findKallsyms(bytes, at)).toBeUndefined();
      }),
    );
  });

  test("survives mutations and cuts", () => {
    const symbols = sampleSymbols(700, true);
    const images = shapes.map((shape) => place(buildKallsyms(symbols, shape, at), 64, 64));
    fc.assert(
      fc.property(
        fc.constantFrom(...images),
        fc.array(fc.tuple(fc.nat(1 << 16), fc.nat(255)), { maxLength: 10 }),
        fc.nat(1 << 16),
        (image, changes, cut) => {
          const bytes = image.slice(0, image.length - (cut % image.length));
          for (const [where, value] of changes) if (bytes.length > 0) bytes[where % bytes.length] = value;
          const found = findKallsyms(bytes, at);
          if (found) for (let index = 0; index < found.length; index++) found.entry(index);
        },
      ),
      { numRuns: 300 },
    );
  });

  test("gives up on bytes that are made to look like tables everywhere", () => {
    // Each step a valid token_index behind a valid token_table, with markers that never fit names.
    const block = buildKallsyms(sampleSymbols(600, false), { layout: "6.4", meaning: "relative" }, at);
    const tokens = block.subarray(block.indexOf("\0\x01\0\x02\0\x03\0"));
    const fake = Buffer.concat([
      Buffer.from(Uint32Array.from([0, 600, 1200, 1800]).buffer),
      tokens.subarray(0, 4096),
    ]);
    const hostile = Buffer.concat(Array.from({ length: 2000 }, () => fake));
    expect(findKallsyms(hostile, at)).toBeUndefined();
  });
});
