import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { cpioArchive } from "../../../src/formats/cpio.ts";
import { unpackInitramfs } from "../../../src/formats/initramfs-unpack.ts";

const limit = 16 << 20;
const file = (path: string, data: string | Uint8Array) => ({
  kind: "file" as const,
  path,
  data: Buffer.from(data),
});
const microcode = cpioArchive([file("kernel", "x")]);
const main = cpioArchive([file("init", "#!/bin/sh\n"), file("big", "text ".repeat(20_000))]);

/** Packs as a program of the machine does. */
function packedBy(program: string, ...args: string[]): Uint8Array {
  const folder = mkdtempSync(join(tmpdir(), "rekernel-test-"));
  try {
    writeFileSync(join(folder, "archive"), main);
    return execFileSync(program, [...args, "-c", join(folder, "archive")], { maxBuffer: limit });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const joined = (bytes: Uint8Array, most = limit) => {
  const { chunks, ...rest } = unpackInitramfs(bytes, most);
  return { ...rest, bytes: Buffer.concat(chunks) };
};

/** Archives without what stands between them, each at a multiple of 4. */
function archives(bytes: Buffer): Buffer[] {
  const found: Buffer[] = [];
  const trailer = Buffer.from(cpioArchive([]));
  for (let at = 0; at < bytes.length; ) {
    if (bytes[at] === 0) {
      at++;
      continue;
    }
    expect(at % 4).toBe(0);
    const end = bytes.indexOf("TRAILER!!!", at) - 110 + trailer.length;
    found.push(bytes.subarray(at, end));
    at = end;
  }
  return found;
}

describe("an initramfs", () => {
  const xz = packedBy("xz", "--check=crc32");
  test.each<[string, string, Uint8Array]>([
    ["gzip", "gzip", gzipSync(main)],
    [
      "two gzip members",
      "gzip",
      Buffer.concat([gzipSync(main.subarray(0, 999)), gzipSync(main.subarray(999))]),
    ],
    ["zstd", "zstd", zstdCompressSync(main)],
    [
      "two zstd frames",
      "zstd",
      Buffer.concat([zstdCompressSync(main.subarray(0, 99)), zstdCompressSync(main.subarray(99))]),
    ],
    ["xz", "xz", xz],
  ])("behind early microcode is unpacked: %s", (_, compression, packed) => {
    for (const gap of [0, 4, 401]) {
      const bytes = Buffer.concat([microcode, Buffer.alloc(gap), packed, Buffer.alloc(7), packed]);
      const { unpacked, kept, bytes: all } = joined(bytes);
      expect(kept).toBeUndefined();
      const each = { compression, bytes: packed.length, unpackedBytes: main.length };
      expect(unpacked).toEqual([each, each]);
      expect(archives(all).map((archive) => archive.equals(microcode))).toEqual([true, false, false]);
      for (const archive of archives(all).slice(1)) expect(archive.equals(main)).toBe(true);
      expect(all.subarray(0, microcode.length).equals(microcode)).toBe(true);
    }
  });

  test("packed with lz4 or lzma is unpacked as far as its end is certain", () => {
    const lzma = packedBy("xz", "--format=lzma");
    const lz4 = readFileSync(join(import.meta.dirname, "../../fixtures/packed/legacy.lz4"));
    expect(
      joined(Buffer.concat([lzma, Buffer.alloc(5)])).bytes.equals(Buffer.concat([main, Buffer.alloc(5)])),
    ).toBe(true);
    const behind = Buffer.concat([microcode, lzma, gzipSync(main)]);
    expect(joined(behind)).toMatchObject({
      kept: expect.stringContaining("lzma"),
      unpacked: [],
      bytes: behind,
    });
    // What the fixture holds is no archive.
    expect(joined(lz4)).toMatchObject({ kept: expect.stringContaining("no archive"), unpacked: [] });
  });

  test("from the first thing on that cannot be unpacked stays as it is, at the same distance from a multiple of 4", () => {
    const odd = gzipSync(main);
    const rest = [
      [Buffer.from("BZh91AY&SY"), /bzip2/],
      [Buffer.from("junk"), /neither/],
      [Buffer.concat([Buffer.from("070701"), Buffer.alloc(104, "z")]), /damaged archive/],
      [gzipSync("no archive"), /no archive/],
      [gzipSync(main).subarray(0, 60), /damaged part \(gzip\)/],
    ] as const;
    for (const [data, reason] of rest)
      for (const gap of [1, 2, 3, 4]) {
        const tail = Buffer.concat([Buffer.alloc(gap), data, Buffer.from([0, 1, 2, 3])]);
        const bytes = Buffer.concat([odd, Buffer.alloc((4 - (odd.length % 4)) % 4), tail]);
        const { bytes: all, kept } = joined(bytes);
        // At a multiple of 4 these bytes begin an archive, elsewhere they are something unknown.
        expect(kept).toMatch(data[0] === 0x30 && gap !== 4 ? /neither/ : reason);
        expect(all.subarray(-data.length - 4).equals(tail.subarray(gap))).toBe(true);
        expect((all.length - bytes.length) % 4).toBe(0);
        expect(all.subarray(0, main.length).equals(main)).toBe(true);
      }
  });

  test("with a boot configuration keeps it at the very end", () => {
    const configuration = Buffer.from("kernel.quiet = 1\n\0\0\0\x14\0\0\0\x01\x02\0\0#BOOTCONFIG\n");
    const { bytes, unpacked } = joined(Buffer.concat([gzipSync(main), configuration]));
    expect(unpacked).toHaveLength(1);
    expect(bytes.subarray(-configuration.length).equals(configuration)).toBe(true);
  });

  test("that would take too much memory stays as it is", () => {
    const bytes = Buffer.concat([zstdCompressSync(main), gzipSync(main)]);
    expect(joined(bytes, main.length + 10).unpacked).toHaveLength(1);
    for (const most of [0, 1000, main.length - 1])
      expect(joined(bytes, most)).toMatchObject({
        kept: expect.stringMatching(/more than the 0 MiB/),
        unpacked: [],
        bytes,
      });
  });

  test("of any bytes loses nothing that is not unpacked", () => {
    const piece = fc.oneof(
      fc.uint8Array({ maxLength: 30 }).map((bytes) => Buffer.from(bytes)),
      fc.constantFrom(
        Buffer.from(microcode),
        gzipSync(microcode),
        zstdCompressSync(microcode),
        Buffer.alloc(3),
      ),
    );
    fc.assert(
      fc.property(
        fc.array(piece, { maxLength: 6 }),
        fc.nat(),
        fc.integer({ min: 0, max: 255 }),
        (pieces, at, value) => {
          const bytes = Buffer.concat(pieces);
          if (bytes.length > 0 && value > 0) bytes[at % bytes.length] = value;
          const { bytes: all, unpacked } = joined(bytes);
          if (unpacked.length === 0) expect(all.equals(bytes)).toBe(true);
          expect(joined(all).bytes.equals(all)).toBe(true);
        },
      ),
      { numRuns: 1000 },
    );
  });
});
