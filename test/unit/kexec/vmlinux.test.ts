import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { RekernelError } from "../../../src/core/errors.ts";
import { field, KASLR_FLAG } from "../../../src/formats/boot-params/fields.ts";
import { readBootParams, readCommandLine } from "../../../src/formats/boot-params/read.ts";
import { readBzImage } from "../../../src/formats/bzimage.ts";
import { readElf } from "../../../src/formats/elf/read.ts";
import { noFirmwareFacts } from "../../../src/formats/firmware-facts.ts";
import type { LoaderInput } from "../../../src/kexec/loaders/loader.ts";
import { mustUnpackItself } from "../../../src/kexec/loaders/self-unpacking.ts";
import { loadVmlinux } from "../../../src/kexec/loaders/vmlinux.ts";
import { checkSegments } from "../../../src/kexec/segments/check.ts";
import { buildBzImage } from "../kernel/build-image.ts";
import { buildRelocatableVmlinux, type RelocatableVmlinux } from "../kernel/build-relocatable.ts";

const MiB = 1 << 20;
let kernel: RelocatableVmlinux;
let packed: Uint8Array;
beforeAll(() => {
  kernel = buildRelocatableVmlinux("Linux version 6.12.0-test");
  packed = new Uint8Array(Buffer.concat([kernel.elf, kernel.relocations]));
});

function input(changes: Partial<LoaderInput> = {}): LoaderInput {
  const ram = { start: 0x100000n, end: BigInt(512 * MiB) };
  return {
    kernel: packed,
    kernelName: "vmlinux",
    imagePath: "vmlinux",
    initrd: [],
    modules: [],
    commandLine: "root=/dev/vda1",
    entry32Bit: false,
    fiveLevelPaging: false,
    deviceTree: undefined,
    memory: [{ ...ram, kind: "ram" }],
    room: [ram],
    firmware: noFirmwareFacts,
    digest: "sum",
    serialPort: undefined,
    rngSeed: new Uint8Array(32).fill(7),
    random: () => 0,
    ...changes,
  };
}

const kernelAt = (layout: ReturnType<typeof loadVmlinux>) =>
  layout.segments.filter(({ name }) => name.startsWith("kernel"));

/** boot_params of a layout, and the command line that it points to. */
function parameters({ segments }: ReturnType<typeof loadVmlinux>) {
  const { data, address } = segments.find(({ name }) => name === "boot_params")!;
  const page = readBootParams(data);
  return { page, commandLine: readCommandLine(data, address, page) };
}

describe("a vmlinux", () => {
  test("lies anywhere, moved to any address of its window, with KASLR_FLAG", () => {
    fc.assert(
      fc.property(
        // A product with what is closer to 1 can be rounded to the limit itself.
        fc.double({ min: 0, max: 0.999999 }),
        fc.nat({ max: 100 }),
        (where, initrdMiB) => {
          const limits: number[] = [];
          const random = (limit: number) => {
            limits.push(limit);
            return Math.floor(where * limit);
          };
          const initrd = initrdMiB === 0 ? [] : [new Uint8Array(initrdMiB * MiB)];
          const given = input({ random, initrd });
          const layout = loadVmlinux(given);
          checkSegments(layout.segments, given.room, undefined);
          const parts = kernelAt(layout);
          const [places, slots] = limits;
          // 16 to 512 MiB less the initrd and the kernel, and 16 MiB to 1 GiB.
          expect(places).toBeGreaterThan((400 - initrdMiB) / 2);
          expect(slots).toBe(1 + (1024 - 16 - 4) / 2);
          const slide = Math.floor(where * slots!) * 2 * MiB;
          const linked = kernel.linkedHigher(slide);
          const moved = readElf(linked).segments.filter(({ type }) => type === 1);
          const start = parts[0]!.address;
          expect(start % BigInt(2 * MiB)).toBe(0n);
          expect(layout.kernelEntry).toBe(start);
          for (const { offset, fileSize, physicalAddress } of moved) {
            const at = start + physicalAddress - 0x1000000n - BigInt(slide);
            const part = parts.find(
              ({ address, memoryBytes }) => address <= at && at < address + BigInt(memoryBytes),
            )!;
            const from = Number(at - part.address);
            const there = Buffer.from(part.data.subarray(from, from + fileSize));
            expect(there.equals(linked.subarray(offset, offset + fileSize))).toBe(true);
          }
          expect(parameters(layout).page.loadflags & KASLR_FLAG).toBe(KASLR_FLAG);
          expect(layout.notes).toEqual([]);
        },
      ),
      { numRuns: 10 },
    );
  });

  test("stays where it was linked with nokaslr, and without relocations, which a note tells", () => {
    const still = (changes: Partial<LoaderInput>) => {
      const layout = loadVmlinux(input({ random: (limit) => limit - 1, ...changes }));
      expect(kernelAt(layout)[0]!.address).toBe(0x1000000n);
      const text = readElf(kernel.elf).segments.find(({ type }) => type === 1)!;
      const expected = kernel.elf.subarray(text.offset, text.offset + text.fileSize);
      expect(Buffer.from(kernelAt(layout)[0]!.data).equals(expected)).toBe(true);
      return layout;
    };
    const asked = still({ commandLine: "quiet nokaslr" });
    expect(parameters(asked)).toMatchObject({ commandLine: "quiet nokaslr", page: { loadflags: 1 } });
    expect(asked.notes).toEqual([]);
    const plain = still({ kernel: kernel.elf });
    expect(parameters(plain).page.loadflags & KASLR_FLAG).toBe(KASLR_FLAG);
    expect(plain.notes).toEqual([expect.stringContaining("vmlinux has no relocations")]);
  });

  test("gets the set-up header of the bzImage that it was unpacked from", () => {
    const image = readBzImage(buildBzImage(packed, (header) => header.writeUInt32LE(16 * MiB, 0x230)));
    const layout = loadVmlinux(input({ unpackedFrom: image, random: (limit) => limit - 1 }));
    expect(kernelAt(layout)[0]!.address % BigInt(16 * MiB)).toBe(0n);
    const { data } = layout.segments.find(({ name }) => name === "boot_params")!;
    expect(data[field.header]).toBe(image.header.setupSects);
  });

  test("that is no Linux kernel, or no room for it, is told", () => {
    const node = { code: "RK-BAD-IMAGE", message: expect.stringContaining("no Linux kernel") };
    const text = Buffer.from(packed);
    text.write("Minix version ", text.indexOf("Linux version "));
    expect(() => loadVmlinux(input({ kernel: text }))).toThrow(expect.objectContaining(node));
    const small = [{ start: 0x100000n, end: 0x1200000n }];
    expect(() => loadVmlinux(input({ room: small }))).toThrow(
      expect.objectContaining({ code: "RK-KEXEC-NO-ROOM" }),
    );
  });

  test("with any bytes changed gives a layout that kexec_load takes, or an expected error", () => {
    const room = input().room;
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat({ max: 400 }), fc.integer({ min: 0, max: 255 })), {
          minLength: 1,
          maxLength: 5,
        }),
        fc.nat(),
        (changes, choice) => {
          const bytes = packed.slice();
          for (const [at, value] of changes) bytes[at] = value;
          try {
            const layout = loadVmlinux(input({ kernel: bytes, random: (limit) => choice % limit }));
            checkSegments(layout.segments, room, undefined);
          } catch (error) {
            if (!(error instanceof RekernelError)) throw error;
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});

test("a bzImage unpacks itself where only its own code knows how to start it", () => {
  const { header } = readBzImage(buildBzImage(packed, (bytes) => bytes.writeUInt16LE(0x7f, 0x236)));
  const [plain, la57] = [
    { fiveLevelPaging: false, confidential: false },
    { fiveLevelPaging: true, confidential: false },
  ];
  const why = (commandLine: string, processor = plain, running = "", of = header) =>
    mustUnpackItself(of, commandLine, processor, running);
  expect(why("root=/dev/vda1 quiet nokaslr memtest=1")).toBeUndefined();
  expect(why("quiet", la57)).toBeUndefined();
  expect(why("quiet", { ...plain, confidential: true })).toMatch(/confidential/);
  for (const word of ["mem=4G", "memmap=1G$4G", "hugepages=4", "movable_node", "mem_encrypt=on"])
    expect(why(`quiet ${word} ro`)).toContain(word);
  expect(why("no5lvl", la57)).toMatch(/back to 4 levels/);
  expect(why("no5lvl", plain, "no5lvl")).toBeUndefined();
  expect(why("", plain, "no5lvl")).toMatch(/5-level/);
  expect(why("", plain, "", { ...header, relocatable: false })).toMatch(/moved/);
  expect(why("", plain, "", { ...header, protocol: 0x020b })).toMatch(/64-bit/);
});
