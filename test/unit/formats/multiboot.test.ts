import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { RekernelError } from "../../../src/core/errors.ts";
import { readExecutable } from "../../../src/formats/elf/executable.ts";
import type { MemoryKind, MemoryRange } from "../../../src/formats/memory-map.ts";
import { framebufferOf } from "../../../src/formats/multiboot/framebuffer.ts";
import { findMultiboot1 } from "../../../src/formats/multiboot/header-1.ts";
import { findMultiboot2 } from "../../../src/formats/multiboot/header-2.ts";
import { readMultiboot1, writeMultiboot1 } from "../../../src/formats/multiboot/information-1.ts";
import { readMultiboot2, writeMultiboot2 } from "../../../src/formats/multiboot/information-2.ts";
import { lowerAndUpperMemory, multibootMemory } from "../../../src/formats/multiboot/memory.ts";
import { placeFile } from "../../../src/formats/multiboot/placed-file.ts";
import { buildMultibootKernel, linkedAt } from "../../vm/multiboot/build.ts";

const words = (...values: number[]) => {
  const bytes = Buffer.alloc(values.length * 4);
  for (const [index, value] of values.entries()) bytes.writeUInt32LE(value >>> 0, index * 4);
  return bytes;
};
const header1 = (flags: number, ...rest: number[]) =>
  words(0x1badb002, flags, -(0x1badb002 + flags), ...rest);
const tag = (type: number, flags: number, ...rest: number[]) =>
  words(type | (flags << 16), 8 + rest.length * 4, ...rest, ...(rest.length % 2 === 0 ? [] : [0]));
const endTag = tag(0, 0);
const header2 = (...tags: Buffer[]) => {
  const body = Buffer.concat(tags);
  const length = 16 + body.length;
  return Buffer.concat([words(0xe85250d6, 0, length, -(0xe85250d6 + length)), body]);
};
const behind = (bytes: number, ...parts: Buffer[]) => Buffer.concat([Buffer.alloc(bytes), ...parts]);

const u32 = fc.nat({ max: 0xffffffff });
const text = fc.string({ unit: "binary", maxLength: 60 }).map((value) => value.replaceAll("\0", " "));
const memory = fc.array(
  fc.record({
    address: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    length: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    type: u32,
  }),
  { maxLength: 20 },
);
const modules = fc.array(fc.record({ start: u32, end: u32, text }), { maxLength: 8 });
const framebuffer = fc.option(
  fc.oneof(
    fc.record({
      address: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      pitch: u32,
      width: u32,
      height: u32,
      bitsPerPixel: fc.nat({ max: 255 }),
      type: fc.constant(1),
      colours: fc.array(fc.nat({ max: 255 }), { minLength: 6, maxLength: 6 }),
    }),
    fc.constant({
      address: 0xb8000n,
      pitch: 160,
      width: 80,
      height: 25,
      bitsPerPixel: 16,
      type: 2,
      colours: [],
    }),
  ),
  { nil: undefined },
);

function expectOnlyClearErrors(work: () => unknown): void {
  try {
    work();
  } catch (error) {
    if (!(error instanceof RekernelError)) throw error;
  }
}

describe("the Multiboot header", () => {
  test("is found at any multiple of 4 within the first 8 KiB", () => {
    for (const at of [0, 4, 1236, 8180])
      expect(findMultiboot1(behind(at, header1(3), Buffer.alloc(20)), "k")).toMatchObject({
        offset: at,
        alignModules: true,
        wantsMemory: true,
        wantsVideo: false,
        addresses: undefined,
      });
    for (const at of [2, 8184, 8192, 9000])
      expect(findMultiboot1(behind(at, header1(3), Buffer.alloc(20)), "k")).toBeUndefined();
    expect(findMultiboot1(new Uint8Array(3), "k")).toBeUndefined();
  });

  test("counts only with a right checksum: the next one may", () => {
    const wrong = words(0x1badb002, 3, 12345);
    expect(findMultiboot1(Buffer.concat([wrong, header1(1)]), "k")).toMatchObject({ offset: 12, flags: 1 });
  });

  test("that demands the unknown, or is cut off, is refused", () => {
    expect(() => findMultiboot1(header1(0x11), "k")).toThrow(/demands what .* \(0x10\)/);
    expect(() => findMultiboot1(header1(0x10003, 1, 2), "k")).toThrow(/Cannot read k: .* cut off/);
    // Bits 16 to 31 are wishes.
    expect(findMultiboot1(header1(0x80000003), "k")).toBeDefined();
  });

  test("tells where a file without ELF header belongs", () => {
    const file = behind(64, header1(0x10000, 0x100040, 0x100020, 0x100100, 0x104000, 0x100060));
    const whole = Buffer.concat([file, Buffer.alloc(400)]);
    const { offset, addresses } = findMultiboot1(whole, "k")!;
    expect(addresses).toMatchObject({ header: 0x100040, load: 0x100020, entry: 0x100060 });
    const fail = (reason: string) => new Error(reason) as RekernelError;
    expect(placeFile(whole, offset, addresses!, fail)).toEqual({
      address: 0x100020,
      data: whole.subarray(32, 32 + 0xe0),
      memoryBytes: 0x3fe0,
    });
    const place = (changes: Partial<typeof addresses & object>) =>
      placeFile(whole, offset, { ...addresses!, ...changes }, fail);
    expect(place({ loadEnd: 0, bssEnd: 0 })).toMatchObject({ memoryBytes: whole.length - 32 });
    expect(place({ load: undefined })).toMatchObject({ address: 0x100000 });
    expect(() => place({ load: 0x100041 })).toThrow("before where loading begins");
    expect(() => place({ load: 0xff000 })).toThrow("before the file's beginning");
    expect(() => place({ loadEnd: 0x110000 })).toThrow("the file has");
    expect(() => place({ loadEnd: 0x100000 })).toThrow("loads bytes");
    expect(() => place({ bssEnd: 0x100030 })).toThrow("before what is loaded ends");
    expect(() => place({ load: undefined, header: 5 })).toThrow("before where loading begins");
    expect(() => place({ header: 0xfffffff0, load: undefined, loadEnd: 0, bssEnd: 0 })).toThrow("4 GiB");
  });
});

describe("the Multiboot2 header", () => {
  test("is found at any multiple of 8 within the first 32 KiB, with its tags", () => {
    const header = header2(
      tag(1, 0, 6, 3),
      tag(1, 1, 15),
      tag(2, 0, 0x100010, 0xffffffff, 0, 0),
      tag(3, 0, 0x100100),
      tag(4, 1, 3),
      tag(5, 1, 800, 600, 32),
      tag(6, 0),
      tag(7, 1),
      tag(9, 0, 0x100200),
      tag(10, 0, 0x100000, 0xffffffff, 0x200000, 2),
      tag(77, 1),
      tag(78, 0),
      endTag,
    );
    for (const at of [0, 8, 24000])
      expect(findMultiboot2(behind(at, header), "k")).toEqual({
        offset: at,
        length: header.length,
        addresses: { header: 0x100010, load: undefined, loadEnd: 0, bssEnd: 0 },
        entry: 0x100100,
        relocatable: {
          minAddress: 0x100000,
          maxAddress: 0xffffffff,
          align: 0x200000,
          preference: "highest",
        },
        alignModules: true,
        console: { required: true, egaText: true, optional: true },
        framebuffer: { width: 800, height: 600, depth: 32, optional: true },
        efiBootServices: true,
        wishes: [15],
        demand: { information: [6, 3], unknownTags: [78] },
      });
    for (const at of [4, 32768]) expect(findMultiboot2(behind(at, header), "k")).toBeUndefined();
  });

  test.each([
    ["for MIPS", Buffer.concat([words(0xe85250d6, 4, 24, -(0xe85250d6 + 4 + 24)), endTag]), "for MIPS"],
    ["that does not fit", behind(32760 - 16, header2(tag(6, 0), endTag)), "claims 32 bytes"],
    ["without a last tag", header2(tag(6, 0)), "no last tag"],
    ["with a tag that is too large", header2(words(6, 100), endTag), "tag 6 .* claims 100 bytes"],
    ["with a tag of no size", header2(words(6, 0), endTag), "tag 6 .* claims 0 bytes"],
    ["with an address tag that is too short", header2(tag(2, 0, 1, 2), endTag), "too short"],
    ["with a window that is none", header2(tag(10, 0, 9, 8, 1, 0), endTag), "end before they begin"],
    ["with an odd alignment", header2(tag(10, 0, 0, 9, 3, 0), endTag), "no power of two"],
  ])("%s is refused", (_name, bytes, message) => {
    expect(() => findMultiboot2(bytes, "k")).toThrow(new RegExp(message));
  });
});

describe("kernels made by gcc and ld", () => {
  let version1: Uint8Array;
  let version2: Uint8Array;
  beforeAll(() => {
    version1 = buildMultibootKernel({ version: 1, flat: true });
    version2 = buildMultibootKernel({ version: 2, elf64: true, relocatable: true });
  });

  test("a flat one lies where it was linked to", () => {
    const { offset, addresses } = findMultiboot1(version1, "k")!;
    const placed = placeFile(version1, offset, addresses!, (reason) => new Error(reason) as RekernelError);
    expect(placed).toMatchObject({ address: linkedAt, data: version1 });
    expect(placed.memoryBytes).toBeGreaterThan(version1.length + 16384);
  });

  test("an ELF file of either class gives the same segments", () => {
    const header = findMultiboot2(version2, "k")!;
    expect(header).toMatchObject({ demand: { information: [1, 3, 6] }, relocatable: { align: 0x200000 } });
    const wide = readExecutable(version2, "k");
    const narrow = readExecutable(buildMultibootKernel({ version: 2, relocatable: true }), "k");
    expect([wide.bits, narrow.bits]).toEqual([64, 32]);
    expect(wide.segments).toEqual(narrow.segments);
    expect(wide.segments[0]).toMatchObject({ physicalAddress: BigInt(linkedAt) });
    expect(wide.entry).toBe(narrow.entry);
    // .symtab, .strtab, .shstrtab
    expect([wide.sections!.loose.length, narrow.sections!.loose.length]).toEqual([3, 3]);
  });

  test("damaged ones are told as such", () => {
    const samples = [version1, version2, buildMultibootKernel({ version: 1 })];
    const change = fc.record({ at: fc.double({ min: 0, max: 1, noNaN: true }), value: fc.nat({ max: 255 }) });
    fc.assert(
      fc.property(
        fc.constantFrom(...samples),
        fc.array(
          fc.oneof(
            change,
            change.map(({ at, value }) => ({ at: at / 20, value })),
          ),
          { maxLength: 12 },
        ),
        fc.double({ min: 0, max: 1.5, noNaN: true }),
        (sample, changes, keep) => {
          const bytes = Uint8Array.from(sample.subarray(0, Math.ceil(sample.length * keep)));
          for (const { at, value } of changes) bytes[Math.floor(at * bytes.length)] = value;
          expectOnlyClearErrors(() => findMultiboot1(bytes, "k"));
          expectOnlyClearErrors(() => findMultiboot2(bytes, "k"));
          expectOnlyClearErrors(() => readExecutable(bytes, "k"));
        },
      ),
      { numRuns: 2000 },
    );
  });
});

describe("the information", () => {
  const sections = fc.option(fc.record({ count: u32, entryBytes: u32, nameSection: u32 }), {
    nil: undefined,
  });

  test("of version 1 is read back as it was written, wherever it lies", () => {
    const info = fc.record({
      commandLine: text,
      bootLoader: text,
      memory,
      modules,
      framebuffer,
      sections,
      address: u32,
      lowerKiB: u32,
      upperKiB: u32,
    });
    fc.assert(
      fc.property(
        info,
        u32.map((value) => value & 0x7ffffffc),
        ({ address: headers, ...rest }, address) => {
          const given = { ...rest, sections: rest.sections && { ...rest.sections, address: headers } };
          const known = rest.memory.length > 0 ? given : { ...given, lowerKiB: 0, upperKiB: 0 };
          expect(readMultiboot1(writeMultiboot1(given, address), address)).toEqual(known);
          expect(writeMultiboot1(given, 0).length).toBe(writeMultiboot1(given, address).length);
        },
      ),
    );
  });

  test("of version 2 is read back as it was written", () => {
    const info = fc.record({
      commandLine: text,
      bootLoader: text,
      memory,
      modules,
      framebuffer,
      lowerKiB: u32,
      upperKiB: u32,
      sections: sections.map((given) => given && { ...given, headers: Buffer.from("headers") }),
      rsdp: fc.constantFrom(undefined, Buffer.alloc(20, "RSD PTR "), Buffer.alloc(36, "RSD PTR ")),
      loadBase: fc.option(u32, { nil: undefined }),
    });
    fc.assert(
      fc.property(info, (given) => {
        const known = given.memory.length > 0 ? given : { ...given, lowerKiB: 0, upperKiB: 0 };
        const bytes = writeMultiboot2(given);
        expect(bytes.length % 8).toBe(0);
        expect(readMultiboot2(bytes)).toEqual(known);
      }),
    );
  });

  test("stands where the specification says", () => {
    const given = {
      commandLine: "c",
      bootLoader: "l",
      lowerKiB: 640,
      upperKiB: 1024,
      memory: [{ address: 1n, length: 2n, type: 3 }],
      modules: [{ start: 0x1000, end: 0x1004, text: "m" }],
      sections: undefined,
      framebuffer: undefined,
    };
    const one = Buffer.from(writeMultiboot1(given, 0x5000));
    expect(one.readUInt32LE(0)).toBe(0x24d);
    expect([4, 8, 20, 44].map((at) => one.readUInt32LE(at))).toEqual([640, 1024, 1, 24]);
    const at = (field: number) => one.readUInt32LE(field) - 0x5000;
    expect(one.toString("latin1", at(16), at(16) + 2)).toBe("c\0");
    expect(one.readUInt32LE(at(48))).toBe(20);
    expect(one.readUInt32LE(at(24) + 4)).toBe(0x1004);
    const two = Buffer.from(writeMultiboot2({ ...given, rsdp: undefined, loadBase: 0x200000 }));
    const types: number[] = [];
    for (let tag = 8; tag < two.length; tag += Math.ceil(two.readUInt32LE(tag + 4) / 8) * 8)
      types.push(two.readUInt32LE(tag));
    expect(types).toEqual([1, 2, 3, 4, 6, 21, 0]);
    expect(two.readUInt32LE(0)).toBe(two.length);
  });

  test("that is damaged is told as such", () => {
    const given = {
      ...{ commandLine: "line", bootLoader: "loader", lowerKiB: 1, upperKiB: 2, framebuffer: undefined },
      memory: [{ address: 1n, length: 2n, type: 3 }],
      modules: [{ start: 1, end: 2, text: "words" }],
    };
    const one = writeMultiboot1({ ...given, sections: undefined }, 0x1000);
    const two = writeMultiboot2({ ...given, sections: undefined, rsdp: undefined, loadBase: 1 });
    const changes = fc.array(fc.tuple(fc.nat({ max: 200 }), fc.nat({ max: 255 })), {
      minLength: 1,
      maxLength: 8,
    });
    fc.assert(
      fc.property(changes, (places) => {
        const [first, second] = [Uint8Array.from(one), Uint8Array.from(two)];
        for (const [place, value] of places) {
          first[place % first.length] = value;
          second[place % second.length] = value;
        }
        expectOnlyClearErrors(() => readMultiboot1(first, 0x1000));
        expectOnlyClearErrors(() => readMultiboot2(second));
      }),
      { numRuns: 2000 },
    );
  });
});

describe("memory and screen", () => {
  const range = (start: bigint, end: bigint, kind: MemoryKind = "ram"): MemoryRange => ({ start, end, kind });

  test("lower and upper memory end at the first hole", () => {
    const pc = [range(0n, 0x9fc00n), range(0x9fc00n, 0xa0000n, "reserved"), range(0x100000n, 0x3000000n)];
    expect(lowerAndUpperMemory(pc)).toEqual({ lowerKiB: 639, upperKiB: 0x2f00000 / 1024 });
    const touching = [range(0x1000n, 0xa0000n), range(0x80000n, 0x200000n), range(0x200000n, 0x300000n)];
    expect(lowerAndUpperMemory(touching)).toEqual({ lowerKiB: 640, upperKiB: 2048 });
    expect(lowerAndUpperMemory([range(0x100000n, 1n << 60n)]).upperKiB).toBe(0xffffffff);
    expect(lowerAndUpperMemory([range(0x100000n, 0x200000n, "acpi")])).toEqual({ lowerKiB: 0, upperKiB: 0 });
  });

  test("kinds that Multiboot does not know are reserved", () => {
    const kinds: MemoryKind[] = [
      "ram",
      "reserved",
      "acpi",
      "acpi-nvs",
      "unusable",
      "persistent",
      "soft-reserved",
    ];
    const ranges = kinds.map((kind, index) => range(BigInt(index), BigInt(index) + 1n, kind));
    expect(multibootMemory([...ranges, range(9n, 9n)]).map(({ type }) => type)).toEqual([
      1, 2, 3, 4, 5, 2, 2,
    ]);
  });

  test("text and pixels of struct screen_info", () => {
    const info = Buffer.alloc(64);
    expect(framebufferOf(info)).toBeUndefined();
    info.set([3, 80], 6);
    info.set([25, 1], 0x0e);
    expect(framebufferOf(info)).toMatchObject({ address: 0xb8000n, width: 80, height: 25, type: 2 });
    info[0x0f] = 0x70;
    for (const [at, value] of [
      [0x12, 1280],
      [0x14, 800],
      [0x16, 32],
      [0x24, 5120],
    ] as const)
      info.writeUInt16LE(value, at);
    info.writeUInt32LE(0xc0000000, 0x18);
    info.set([8, 16, 8, 8, 8, 0], 0x26);
    info.writeUInt32LE(2, 0x36);
    info.writeUInt32LE(1, 0x3a);
    expect(framebufferOf(info)).toEqual({
      address: 0x1c0000000n,
      pitch: 5120,
      width: 1280,
      height: 800,
      bitsPerPixel: 32,
      type: 1,
      colours: [16, 8, 8, 8, 0, 8],
    });
  });
});
