import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { compilePurgatory, purgatoryFolder } from "../../../scripts/purgatory/compile.ts";
import { imageBase64, imageMemoryBytes } from "../../../src/kexec/purgatory/image.ts";
import {
  buildPurgatory,
  purgatoryLimit,
  purgatoryMemoryBytes,
} from "../../../src/kexec/purgatory/purgatory.ts";
import type { Handover, PurgatoryRequest } from "../../../src/kexec/purgatory/request.ts";
import type { Segment } from "../../../src/kexec/segments/segment.ts";

const segment = (name: string, address: bigint, data: Uint8Array): Segment => ({
  name,
  address,
  data,
  memoryBytes: Math.ceil(data.length / 4096) * 4096,
});

/** The parameters as native/purgatory/parameters.h lays them out, read from the beginning of an image. */
function parametersIn(data: Uint8Array) {
  const view = new DataView(data.buffer, data.byteOffset + 64);
  const at = (index: number) => 48 + index * 64;
  const bytes = (offset: number, size: number) => Buffer.from(data.subarray(64 + offset, 64 + offset + size));
  return {
    magic: bytes(0, 8).toString("latin1"),
    version: view.getUint32(8, true),
    handover: view.getUint32(12, true),
    entry: view.getBigUint64(16, true),
    information: view.getBigUint64(24, true),
    magicWord: view.getUint32(32, true),
    digest: view.getUint32(36, true),
    serialPort: view.getUint32(40, true),
    regions: Array.from({ length: view.getUint32(44, true) }, (_, index) => ({
      address: view.getBigUint64(at(index), true),
      size: view.getBigUint64(at(index) + 8, true),
      name: bytes(at(index) + 16, 16)
        .toString("latin1")
        .replace(/\0+$/, ""),
      digest: bytes(at(index) + 32, 32).toString("hex"),
    })),
  };
}

/** The same digest as the purgatory's own code takes, compiled for this machine. */
class Digester {
  readonly #folder = mkdtempSync(join(tmpdir(), "rekernel-digest-"));
  readonly #program = join(this.#folder, "digest");

  constructor() {
    const main = join(this.#folder, "main.c");
    writeFileSync(
      main,
      `#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "digest.h"
/* Standard input: a size of 4 bytes, that many bytes, and so on. */
int main(int argc, char **argv)
{
	uint32_t size;
	while (fread(&size, 4, 1, stdin) == 1) {
		uint8_t digest[32] = { 0 }, *data = aligned_alloc(4096, (size + 4096) & ~4095);
		if (fread(data, 1, size, stdin) != size) return 1;
		uint64_t words[2];
		if (strcmp(argv[argc - 1], "sum") == 0) { sum(data, size, words); memcpy(digest, words, 16); }
		else sha256(data, size, digest);
		for (int i = 0; i < 32; i++) printf("%02x", digest[i]);
		putchar('\\n');
		free(data);
	}
}
`,
    );
    const sources = ["sum.c", "sha256.c"].map((name) => join(purgatoryFolder, name));
    const sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover"];
    execFileSync("gcc-12", [
      "-O2",
      ...sanitize,
      "-I",
      purgatoryFolder,
      "-o",
      this.#program,
      main,
      ...sources,
    ]);
  }

  digests(kind: "sha256" | "sum", inputs: readonly Uint8Array[]): string[] {
    const input = inputs.flatMap((bytes) => [new Uint8Array(Uint32Array.of(bytes.length).buffer), bytes]);
    const output = execFileSync(this.#program, [kind], { input: Buffer.concat(input), encoding: "latin1" });
    return output.trim().split("\n");
  }

  [Symbol.dispose]() {
    rmSync(this.#folder, { recursive: true });
  }
}

const digester = new Digester();
afterAll(() => digester[Symbol.dispose]());

const request = (changes: Partial<PurgatoryRequest> = {}): PurgatoryRequest => ({
  handover: { kind: "linux-64", entry: 0x1000200n, bootParams: 0x90000n },
  digest: "sha256",
  segments: [],
  ...changes,
});

describe("the purgatory's image", () => {
  test("is what its sources compile to", async () => {
    const { data, memoryBytes } = await compilePurgatory();
    expect(Buffer.from(data).toString("base64")).toBe(imageBase64.replaceAll("\n", ""));
    expect(memoryBytes).toBe(imageMemoryBytes);
    expect(purgatoryMemoryBytes % 4096).toBe(0);
    expect(data.length).toBeLessThan(purgatoryMemoryBytes - 4096);
  });
});

describe("the purgatory's parameters", () => {
  test("say what is to be verified, and where to go", () => {
    const kernel = Buffer.from("kernel");
    const { data, entryOffset } = buildPurgatory(
      request({
        segments: [
          segment("kernel", 0x1000000n, kernel),
          segment("nothing", 0x2000000n, Buffer.of()),
          segment("modüle with a long name", 0x1_2345_6000n, Buffer.alloc(5000, 7)),
        ],
        serialPort: 0x2f8,
      }),
    );
    expect(entryOffset).toBe(0);
    expect(parametersIn(data)).toEqual({
      magic: "RKTPURGT",
      version: 1,
      handover: 0,
      entry: 0x1000200n,
      information: 0x90000n,
      magicWord: 0,
      digest: 0,
      serialPort: 0x2f8,
      regions: [
        {
          address: 0x1000000n,
          size: 6n,
          name: "kernel",
          digest: createHash("sha256").update(kernel).digest("hex"),
        },
        {
          address: 0x1_2345_6000n,
          size: 5000n,
          name: "mod?le with a l",
          digest: createHash("sha256").update(Buffer.alloc(5000, 7)).digest("hex"),
        },
      ],
    });
  });

  test("survive the way there and back, and leave the code as it is", () => {
    const u32 = fc.integer({ min: 0, max: 0xffffffff });
    const u64 = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });
    const handovers: fc.Arbitrary<Handover> = fc.oneof(
      fc.record({ kind: fc.constant("linux-64" as const), entry: u64, bootParams: u64 }),
      fc.record({ kind: fc.constant("linux-32" as const), entry: u32, bootParams: u32 }),
      fc.record({ kind: fc.constant("multiboot" as const), entry: u32, magic: u32, information: u32 }),
    );
    const segments = fc.array(
      fc.record({ address: u64, name: fc.string(), data: fc.uint8Array({ maxLength: 100 }) }),
      { maxLength: 16 },
    );
    const image = Buffer.from(imageBase64, "base64");
    fc.assert(
      fc.property(
        handovers,
        segments,
        fc.constantFrom("sha256" as const, "sum" as const),
        fc.option(fc.integer({ min: 0, max: 0xfff8 }), { nil: undefined }),
        (handover, parts, digest, serialPort) => {
          const { data } = buildPurgatory({
            handover,
            digest,
            serialPort,
            segments: parts.map(({ name, address, data }) => segment(name, address, data)),
          });
          const found = parametersIn(data);
          expect(found.entry).toBe(BigInt(handover.entry));
          const { information, magic } = {
            information: "information" in handover ? handover.information : handover.bootParams,
            magic: "magic" in handover ? handover.magic : 0,
          };
          expect(found.information).toBe(BigInt(information));
          expect(found.magicWord).toBe(magic);
          expect(found.handover).toBe(["linux-64", "linux-32", "multiboot"].indexOf(handover.kind));
          expect(found.digest).toBe(["sha256", "sum"].indexOf(digest));
          expect(found.serialPort).toBe(serialPort ?? 0);
          const verified = parts.filter((part) => part.data.length > 0);
          expect(found.regions.map(({ address, size }) => [address, size])).toEqual(
            verified.map((part) => [part.address, BigInt(part.data.length)]),
          );
          for (const { name } of found.regions) expect(name).toMatch(/^[ -~]{0,15}$/);
          const end = 64 + 48 + 16 * 64;
          expect(data.length).toBe(image.length);
          expect(Buffer.from(data).subarray(end).equals(image.subarray(end))).toBe(true);
        },
      ),
    );
  });

  test("cannot hold what the next kernel's mode does not reach", () => {
    expect(purgatoryLimit("linux-64")).toBeUndefined();
    expect(purgatoryLimit("linux-32")).toBe(0x1_0000_0000n);
    expect(purgatoryLimit("multiboot")).toBe(0x1_0000_0000n);
    for (const address of [0x1_0000_0000, -1, 1.5, Number.NaN]) {
      const handovers: Handover[] = [
        { kind: "linux-32", entry: 0, bootParams: address },
        { kind: "multiboot", entry: address, magic: 0, information: 0 },
      ];
      for (const handover of handovers)
        expect(() => buildPurgatory(request({ handover }))).toThrow(RangeError);
    }
    const segments = Array.from({ length: 17 }, () => segment("part", 0n, Buffer.of(1)));
    expect(() => buildPurgatory(request({ segments }))).toThrow(
      expect.objectContaining({ code: "RK-KEXEC-LAYOUT", message: expect.stringContaining("17 segments") }),
    );
    expect(() => buildPurgatory(request({ serialPort: 0x10000 }))).toThrow(RangeError);
  });
});

describe("digests", () => {
  const digestBy = (kind: "sha256" | "sum", data: Uint8Array) =>
    parametersIn(buildPurgatory(request({ digest: kind, segments: [segment("part", 0n, data)] })).data)
      .regions[0]!.digest;

  test.each(["sha256", "sum"] as const)("%s is the same here and in the purgatory", (kind) => {
    const sizes = [...Array(200).keys()].map((size) => size + 1);
    const inputs = [...sizes, 4095, 4096, 4097, 1 << 20].map((size) =>
      Uint8Array.from({ length: size }, (_, index) => (index * 7919 + size * 104729) >>> 5),
    );
    inputs.push(new Uint8Array(100_003).fill(0xff), new Uint8Array(777));
    expect(digester.digests(kind, inputs)).toEqual(inputs.map((input) => digestBy(kind, input)));
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ minLength: 1, maxLength: 300 }), { minLength: 1, maxLength: 20 }),
        fc.nat(7),
        (parts, offset) => {
          // As parts of larger buffers, at any offset in them.
          const views = parts.map((part) => Buffer.concat([Buffer.alloc(offset), part]).subarray(offset));
          expect(digester.digests(kind, parts)).toEqual(views.map((view) => digestBy(kind, view)));
        },
      ),
      { numRuns: 30 },
    );
  });

  test("the sum notices one changed bit, words that change places, and words that move", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 16, maxLength: 400 }),
        fc.nat(),
        fc.nat(7),
        (data, position, bit) => {
          const flipped = Uint8Array.from(data);
          flipped[position % data.length]! ^= 1 << bit;
          expect(digestBy("sum", flipped)).not.toBe(digestBy("sum", data));
          const swapped = Uint8Array.from([
            ...data.subarray(8, 16),
            ...data.subarray(0, 8),
            ...data.subarray(16),
          ]);
          if (!Buffer.from(swapped).equals(data))
            expect(digestBy("sum", swapped)).not.toBe(digestBy("sum", data));
        },
      ),
    );
    const word = Buffer.alloc(4096);
    word[0] = 1;
    expect(digestBy("sum", word)).not.toBe(digestBy("sum", word.toReversed()));
  });
});
