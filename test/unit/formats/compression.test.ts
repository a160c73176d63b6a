import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { RekernelError } from "../../../src/core/errors.ts";
import { compressionOf, decompress } from "../../../src/formats/compression.ts";
import { sampleCode } from "./sample-code.ts";

const sample = sampleCode(24 << 10);
const fixture = (name: string) =>
  new Uint8Array(readFileSync(join(import.meta.dirname, "../../fixtures/packed", name)));

// Packed by xz 5.4 and lz4 1.9 from the same deterministic bytes.
const fixtures = [
  { file: "x86-crc32.xz", kind: "xz" },
  { file: "crc64.xz", kind: "xz" },
  { file: "blocks-sha256.xz", kind: "xz" },
  { file: "plain.lzma", kind: "lzma" },
  { file: "legacy.lz4", kind: "lz4" },
] as const;

describe("decompress", () => {
  test.each(fixtures)("unpacks $file", ({ file, kind }) => {
    const packed = fixture(file);
    expect(compressionOf(packed)).toBe(kind);
    expect(Buffer.compare(decompress(packed), sample)).toBe(0);
    expect(Buffer.compare(decompress(packed, { sizeBytes: sample.length }), sample)).toBe(0);
  });

  test("unpacks lzma whose header tells the size", () => {
    const packed = fixture("plain.lzma");
    new DataView(packed.buffer).setBigUint64(5, BigInt(sample.length), true);
    expect(Buffer.compare(decompress(packed), sample)).toBe(0);
    new DataView(packed.buffer).setBigUint64(5, 1n << 40n, true);
    expect(() => decompress(packed)).toThrow(/more than/);
  });

  test("unpacks an empty xz file", () => {
    expect(decompress(fixture("empty.xz"))).toHaveLength(0);
  });

  test.each([
    ["gzip", gzipSync],
    ["zstd", zstdCompressSync],
  ] as const)("unpacks what %s packed", (kind, pack) => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 5000 }), (bytes) => {
        const packed = pack(bytes);
        expect(compressionOf(packed)).toBe(kind);
        expect(Buffer.compare(decompress(packed), bytes)).toBe(0);
      }),
      { numRuns: 50 },
    );
  });

  test("returns bytes that are not packed as they are", () => {
    const bytes = new Uint8Array([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0]);
    expect(decompress(bytes)).toBe(bytes);
    expect(decompress(new Uint8Array(0))).toHaveLength(0);
  });

  test.each(fixtures)("refuses $file cut short anywhere", ({ file }) => {
    const packed = fixture(file);
    // Behind the magic number: a shorter file is not recognised as packed.
    for (let length = 14; length < packed.length; length += 97) {
      // The lz4 frame has no end mark: a cut between blocks cannot be seen, but this one has a single block.
      expect(() => decompress(packed.subarray(0, length))).toThrow(RekernelError);
    }
  });

  test.each([
    ["gzip", gzipSync(sample)],
    ["zstd", zstdCompressSync(sample)],
  ])("refuses %s cut short", (_kind, packed) => {
    for (let length = 12; length < packed.length - 1; length += 211) {
      const cut = packed.subarray(0, length);
      expect(() => decompress(cut, { sizeBytes: sample.length })).toThrow(RekernelError);
    }
  });

  test.each([
    ...fixtures.map(({ file }) => [file, fixture(file)] as const),
    ["gzip", new Uint8Array(gzipSync(sample))] as const,
    ["zstd", new Uint8Array(zstdCompressSync(sample))] as const,
  ])("survives mutations of %s", (_name, packed) => {
    const mutation = fc.record({ at: fc.nat(packed.length - 1), value: fc.nat(255) });
    fc.assert(
      fc.property(fc.array(mutation, { minLength: 1, maxLength: 8 }), (mutations) => {
        const mutated = packed.slice();
        for (const { at, value } of mutations) mutated[at] = value;
        try {
          expect(decompress(mutated, { limitBytes: 1 << 20 }).length).toBeLessThanOrEqual(1 << 20);
        } catch (error) {
          expect(error).toBeInstanceOf(RekernelError);
        }
      }),
      { numRuns: 200 },
    );
  });

  test("xz notices every changed byte", () => {
    const packed = fixture("x86-crc32.xz");
    fc.assert(
      fc.property(fc.nat(packed.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const mutated = packed.slice();
        mutated[at] = mutated[at]! ^ flip;
        let unpacked: Uint8Array;
        try {
          unpacked = decompress(mutated);
        } catch (error) {
          expect(error).toBeInstanceOf(RekernelError);
          return;
        }
        // A changed magic number is no xz file; the footer's last bytes carry no data.
        expect(at < 6 || at >= packed.length - 12 || Buffer.compare(unpacked, sample) === 0).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  test.each([gzipSync, zstdCompressSync])("stops at the limit", (pack) => {
    const packed = pack(new Uint8Array(4 << 20));
    expect(() => decompress(packed, { limitBytes: 1 << 20 })).toThrow(/more than 1048576 bytes/);
  });

  test("stops at the limit in xz, lzma and lz4", () => {
    for (const { file } of fixtures)
      expect(() => decompress(fixture(file), { limitBytes: 10_000 })).toThrow(/more than 10000 bytes/);
  });

  test("says which packing it does not know", () => {
    for (const [magic, kind] of [
      [[0x42, 0x5a, 0x68, 0x39, 0x31, 0x41, 0x59], "bzip2"],
      [[0x89, 0x4c, 0x5a, 0x4f, 0, 0x0d, 0x0a], "lzo"],
    ] as const)
      expect(() => decompress(new Uint8Array(magic))).toThrow(
        expect.objectContaining({
          code: "RK-UNSUPPORTED-COMPRESSION",
          message: expect.stringContaining(kind),
        }),
      );
  });

  test("refuses a size that is not the announced one", () => {
    expect(() => decompress(gzipSync(sample), { sizeBytes: sample.length + 1 })).toThrow(/instead of/);
  });
});
