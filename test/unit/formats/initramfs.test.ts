import { spawnSync } from "node:child_process";
import { constants, gzipSync, zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { cpioArchive } from "../../../src/formats/cpio.ts";
import { initramfsDefect } from "../../../src/formats/initramfs.ts";

const archive = cpioArchive([
  { kind: "directory", path: "bin" },
  { kind: "file", path: "bin/sh", data: Buffer.alloc(5001, "sh") },
  { kind: "file", path: "init", mode: 0o755, data: Buffer.from("#!/bin/sh\n") },
]);
const defectOf = (...parts: Uint8Array[]) => {
  const bytes = Buffer.concat(parts);
  return initramfsDefect(bytes.length, (at, size) => bytes.subarray(at, at + size));
};
const nulls = (count: number) => Buffer.alloc(count);
const large = Buffer.alloc(300_000);
for (let at = 0, value = 1; at < large.length; at++) {
  value = (Math.imul(value, 1664525) + 1013904223) >>> 0;
  large[at] = value >>> 24;
}
const zstd = (checksum: boolean) =>
  zstdCompressSync(large, { params: { [constants.ZSTD_c_checksumFlag]: checksum ? 1 : 0 } });
const xz = (input: Uint8Array) => spawnSync("xz", ["-c", "--check=crc32"], { input }).stdout;
const hasXz = spawnSync("xz", ["--version"]).status === 0;

describe("an initrd", () => {
  test("that the kernel can unpack has no defect", () => {
    expect(defectOf(archive)).toBeUndefined();
    expect(defectOf(archive, nulls(512), archive)).toBeUndefined();
    expect(defectOf(archive, gzipSync(archive))).toBeUndefined();
    expect(defectOf(archive, zstd(true), nulls(5), zstd(false), nulls(3))).toBeUndefined();
    expect(defectOf(zstdCompressSync(archive), zstdCompressSync(Buffer.alloc(200_000)))).toBeUndefined();
    if (hasXz) expect(defectOf(archive, xz(archive), nulls(3))).toBeUndefined();
  });

  test("that is cut off says where", () => {
    expect(defectOf(archive.subarray(0, 2000))).toBe("is cut off: it ends within bin/sh");
    expect(defectOf(archive.subarray(0, 300))).toMatch(/^is cut off: it ends within/);
    expect(defectOf(archive, archive.subarray(0, 60))).toBe(
      "is cut off: it ends within the header of a file",
    );
    for (const checksum of [true, false])
      for (const keep of [8, 20, 100_000, zstd(checksum).length - 1])
        expect(defectOf(archive, zstd(checksum).subarray(0, keep))).toMatch(/zstd archive has no end/);
    if (hasXz) expect(defectOf(xz(archive).subarray(0, -1))).toMatch(/xz archive has no end/);
  });

  test("that is something else says so", () => {
    expect(defectOf(Buffer.from("\x7fELF and more"))).toMatch(/begins with neither/);
    expect(defectOf(archive, Buffer.from("junk"))).toMatch(/behind its first \d+ bytes/);
    expect(defectOf(Buffer.from("070707 of old"))).toMatch(/old format/);
    expect(defectOf(nulls(2), archive)).toMatch(/neither/);
    expect(defectOf(Buffer.from(archive).fill("z", 20, 30))).toMatch(/is damaged/);
  });

  test("of any bytes ends in a verdict", () => {
    const change = fc.tuple(fc.nat({ max: archive.length - 1 }), fc.nat({ max: 255 }));
    fc.assert(
      fc.property(fc.array(change, { maxLength: 20 }), fc.nat({ max: archive.length }), (changes, keep) => {
        const bytes = Buffer.from(archive);
        for (const [at, value] of changes) bytes[at] = value;
        expect(defectOf(bytes.subarray(0, keep))).toSatisfy(
          (verdict: unknown) => verdict === undefined || typeof verdict === "string",
        );
      }),
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        defectOf(Buffer.from([0x28, 0xb5, 0x2f, 0xfd]), bytes);
        defectOf(bytes);
      }),
    );
  });
});
