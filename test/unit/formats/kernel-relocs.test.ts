import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { RekernelError } from "../../../src/core/errors.ts";
import { readElf } from "../../../src/formats/elf/read.ts";
import { applySlide, readKernelRelocations } from "../../../src/formats/kernel-relocs.ts";
import {
  buildRelocatableVmlinux,
  type RelocatableVmlinux,
  relocationBytes,
} from "../kernel/build-relocatable.ts";

let kernel: RelocatableVmlinux;
beforeAll(() => {
  kernel = buildRelocatableVmlinux();
});

function withBehind(...behind: Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat([kernel.elf, ...behind]));
}

const read = (bytes: Uint8Array) => readKernelRelocations(readElf(bytes, "vmlinux"));

describe("relocations behind a vmlinux", () => {
  test("make of a kernel what the linker makes of it at that address", () => {
    const { absolute64, absolute32, inverse32 } = kernel.places;
    expect(absolute64.length).toBeGreaterThan(80);
    expect(absolute32.length).toBeGreaterThanOrEqual(100);
    expect(inverse32).toHaveLength(50);
    for (const slide of [0x200000, 0x1e000000, 0x3c000000]) {
      const bytes = withBehind(kernel.relocations);
      applySlide(bytes, read(bytes)!, slide);
      expect(contentOf(bytes)).toEqual(contentOf(kernel.linkedHigher(slide)));
    }
  });

  test("come in three lists, or in two since 6.15", () => {
    const { absolute64, absolute32, inverse32 } = kernel.places;
    const three = read(withBehind(kernel.relocations))!;
    expect([three.absolute64.length, three.inverse32.length, three.absolute32.length]).toEqual([
      absolute64.length,
      inverse32.length,
      absolute32.length,
    ]);
    const two = read(withBehind(relocationBytes([absolute64, absolute32])))!;
    expect([...two.absolute64]).toEqual([...three.absolute64]);
    expect([...two.absolute32]).toEqual([...three.absolute32]);
    expect(two.inverse32).toHaveLength(0);
    expect(read(withBehind(relocationBytes([[], [], absolute32])))!.absolute64).toHaveLength(0);
  });

  test("are missing behind a plain vmlinux", () => {
    expect(read(kernel.elf)).toBeUndefined();
  });

  test("with another form are refused", () => {
    const { absolute64, absolute32 } = kernel.places;
    const refused = (behind: Uint8Array, reason: RegExp) =>
      expect(() => read(withBehind(behind))).toThrow(
        expect.objectContaining({ code: "RK-BAD-IMAGE", message: expect.stringMatching(reason) }),
      );
    refused(new Uint8Array([0, 0, 0]), /whole number of words/);
    refused(relocationBytes([absolute64, absolute32]).subarray(4), /begin with a zero/);
    refused(relocationBytes([absolute64]), /two nor three lists/);
    refused(relocationBytes([absolute64, [], [], absolute32]), /two nor three lists/);
    refused(relocationBytes([[0x80ffffff], absolute32]), /outside of the image \(0xffffffff80ffffff\)/);
    refused(relocationBytes([absolute64, [0x00000001]]), /outside of the image/);
    // A 64-bit field whose last byte is not in the file any more, and one in .bss.
    const { segments } = readElf(kernel.elf);
    const init = segments.at(-1)!;
    const end = 0x80000000 + Number(init.physicalAddress) + init.fileSize;
    expect(read(withBehind(relocationBytes([[end - 8], []])))!.absolute64).toHaveLength(1);
    refused(relocationBytes([[end - 7], []]), /outside of the image/);
    refused(relocationBytes([[], [end + 64]]), /outside of the image/);
  });

  test("of any bytes give places in the file, or an expected error", () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.constant(0), fc.integer({ min: 0x81000000, max: 0x81202000 }), fc.nat()), {
          maxLength: 40,
        }),
        fc.nat({ max: 3 }),
        (words, cut) => {
          const behind = new Uint8Array(Uint32Array.from([0, ...words]).buffer);
          const bytes = withBehind(behind.subarray(0, behind.length - cut));
          try {
            const found = read(bytes)!;
            for (const [list, width] of [
              [found.absolute64, 8],
              [found.absolute32, 4],
              [found.inverse32, 4],
            ] as const)
              for (const at of list) expect(at + width).toBeLessThanOrEqual(kernel.elf.length);
            applySlide(bytes, found, 0x200000);
          } catch (error) {
            if (!(error instanceof RekernelError)) throw error;
          }
        },
      ),
    );
  });

  test("of a mutated file end in an expected error, or stay in the file", () => {
    const original = withBehind(kernel.relocations);
    // Headers and relocations: what is read.
    const tail = original.length - kernel.relocations.length - 2048;
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.boolean(), fc.nat({ max: 4000 }), fc.integer({ min: 0, max: 255 })), {
          minLength: 1,
          maxLength: 6,
        }),
        (changes) => {
          const bytes = original.slice();
          for (const [atEnd, at, value] of changes)
            bytes[atEnd ? tail + (at % (original.length - tail)) : at % 512] = value;
          try {
            const found = read(bytes);
            if (found) applySlide(bytes, found, 0x200000);
          } catch (error) {
            if (!(error instanceof RekernelError)) throw error;
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});

/** What of a kernel lies in memory, segment by segment. */
function contentOf(bytes: Uint8Array): string[] {
  return readElf(bytes)
    .segments.filter(({ type }) => type === 1)
    .map(({ offset, fileSize }) => Buffer.from(bytes.subarray(offset, offset + fileSize)).toString("hex"));
}
