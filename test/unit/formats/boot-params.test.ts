import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { RekernelError } from "../../../src/core/errors.ts";
import { bootParamsBytes, field, setupDataType } from "../../../src/formats/boot-params/fields.ts";
import {
  readBootParams,
  readCommandLine,
  readE820,
  readSetupData,
} from "../../../src/formats/boot-params/read.ts";
import { type BootParams, writeBootParams } from "../../../src/formats/boot-params/write.ts";
import { type FirmwareFacts, noFirmwareFacts } from "../../../src/formats/firmware-facts.ts";
import type { MemoryKind, MemoryRange } from "../../../src/formats/memory-map.ts";

const plain: BootParams = {
  setupHeader: undefined,
  code32Start: 0x1000000,
  commandLine: "root=/dev/vda1 \u00fcber",
  initrd: { address: 0x1_2345_6000n, bytes: 0x1_0000_0001 },
  memory: [{ start: 0n, end: 0x9fc00n, kind: "ram" }],
  firmware: noFirmwareFacts,
  takesEfi: true,
  kaslr: false,
  rngSeed: new Uint8Array(32).fill(7),
  deviceTree: undefined,
};

const facts: FirmwareFacts = {
  efi: {
    systemTable: 0x1_7f5ec018n,
    firmwareVendor: 0x7f5ec098n,
    runtime: 0xfffffffeffd01234n,
    configurationTable: 0x7f5eca98n,
    smbios: 0x7f5e9000n,
    runtimeMap: [
      {
        type: 5,
        physicalAddress: 0x7f4ed000n,
        virtualAddress: 0xfffffffefff00000n,
        pages: 256n,
        attribute: 0x800000000000000fn,
      },
      {
        type: 6,
        physicalAddress: 0x7f5ed000n,
        virtualAddress: 0xfffffffeffe00000n,
        pages: 128n,
        attribute: 0x800000000000000fn,
      },
    ],
  },
  acpiRsdp: 0x7f77e014n,
  acpiRsdpTable: undefined,
  secureBoot: 3,
  hardwareSubarch: 0,
  screen: { info: new Uint8Array(64).fill(0x70), edid: new Uint8Array(128).fill(0xed) },
  edd: { entries: new Uint8Array(164).fill(0x55), mbrSignatures: [0x11223344, 0xdeadbeef] },
  notes: [],
};

/** Many small ranges of different kinds, so that none can be joined. */
const manyRanges = (count: number): MemoryRange[] =>
  Array.from({ length: count }, (_, index) => ({
    start: BigInt(index) * 0x2000n,
    end: BigInt(index) * 0x2000n + 0x1000n,
    kind: (["ram", "reserved", "acpi", "persistent", "soft-reserved"] as const)[index % 5]!,
  }));

describe("boot_params", () => {
  test("hold the command line and the initrd, also above 4 GiB", () => {
    const address = 0x2_0000_3000n;
    const block = writeBootParams(plain, address);
    const page = readBootParams(block);
    expect(readCommandLine(block, address, page)).toBe(plain.commandLine);
    expect(page).toMatchObject({
      typeOfLoader: 0xd0,
      loadflags: 1,
      code32Start: 0x1000000,
      protocol: 0x020f,
      initrd: { address: 0x1_2345_6000n, bytes: 0x1_0000_0001n },
      memory: plain.memory,
      efi: undefined,
      acpiRsdp: 0n,
    });
    expect(block[0x1ef], "sentinel").toBe(0);
    expect(readSetupData(block, address, page.setupData)).toEqual([
      { type: setupDataType.rngSeed, data: plain.rngSeed },
    ]);
  });

  test("pass on what the firmware left", () => {
    const address = 0x3000n;
    const block = writeBootParams(
      { ...plain, firmware: facts, deviceTree: Buffer.from("device tree") },
      address,
    );
    const page = readBootParams(block);
    expect(page).toMatchObject({
      acpiRsdp: 0x7f77e014n,
      secureBoot: 3,
      edd: { entries: facts.edd!.entries, mbrSignatures: facts.edd!.mbrSignatures },
      efi: { systemTable: 0x1_7f5ec018n, mapBytes: 80, descriptorBytes: 40 },
    });
    expect(page.screen.edid).toEqual(facts.screen!.edid);
    expect(page.screen.info[0x0f]).toBe(0x70);
    const map = Buffer.from(block).subarray(Number(page.efi!.map - address));
    expect(map.readUInt32LE(0)).toBe(5);
    expect(map.readBigUInt64LE(40 + 16)).toBe(0xfffffffeffe00000n);
    const setup = readSetupData(block, address, page.setupData);
    expect(setup.map(({ type }) => type)).toEqual([
      setupDataType.efi,
      setupDataType.rngSeed,
      setupDataType.dtb,
    ]);
    const efi = Buffer.from(setup[0]!.data);
    expect([0, 8, 16, 24].map((at) => efi.readBigUInt64LE(at))).toEqual([
      0x7f5ec098n,
      0xfffffffeffd01234n,
      0x7f5eca98n,
      0x7f5e9000n,
    ]);
    expect(efi).toHaveLength(96);
  });

  test("leave EFI out for a kernel that does not take it", () => {
    const page = readBootParams(writeBootParams({ ...plain, firmware: facts, takesEfi: false }, 0n));
    expect(page.efi).toBeUndefined();
    expect(page.acpiRsdp).toBe(facts.acpiRsdp);
  });

  test.each([0, 1, 127, 128, 129, 500])("hold a map of %i ranges", (count) => {
    const memory = manyRanges(count);
    const address = 0x10000n;
    const block = writeBootParams({ ...plain, memory }, address);
    const page = readBootParams(block);
    expect(page.memory).toHaveLength(Math.min(count, 128));
    const rest = readSetupData(block, address, page.setupData)
      .filter(({ type }) => type === setupDataType.e820Ext)
      .flatMap(({ data }) => readE820(data));
    expect([...page.memory, ...rest]).toEqual(memory);
  });

  test("take the image's set-up header, and nothing of it beyond its room", () => {
    const setupHeader = new Uint8Array(0x100).fill(0xab);
    const block = writeBootParams({ ...plain, setupHeader, kaslr: true, initrd: undefined }, 0n);
    const page = readBootParams(block);
    expect(block[0x1f1]).toBe(0xab);
    expect(block[field.headerEnd - 1]).toBe(0xab);
    expect(block[field.headerEnd]).toBe(0);
    expect(page.loadflags).toBe(0xab | 2);
    expect(page.initrd).toEqual({ address: 0n, bytes: 0n });
    expect(page.hardwareSubarch).toBe(0);
  });

  test("are the same size wherever they lie", () => {
    const sizes = [0n, 0x3000n, 1n << 40n].map(
      (at) => writeBootParams({ ...plain, firmware: facts }, at).length,
    );
    expect(new Set(sizes).size).toBe(1);
  });

  test("come back as they were written", () => {
    const kind = fc.constantFrom<MemoryKind>(
      "ram",
      "reserved",
      "acpi",
      "acpi-nvs",
      "unusable",
      "persistent-legacy",
    );
    const memory = fc.array(
      fc
        .record({ start: fc.bigInt(0n, 1n << 52n), size: fc.bigInt(1n, 1n << 52n), kind })
        .map(({ start, size, kind }) => ({
          start,
          end: start + size,
          kind,
        })),
      { maxLength: 300 },
    );
    const line = fc
      .string({ unit: "grapheme" })
      .filter((text) => !text.includes("\0") && text === Buffer.from(text).toString());
    fc.assert(
      fc.property(memory, line, fc.bigInt(0n, (1n << 52n) - 1n), (ranges, commandLine, page) => {
        const address = page & ~0xfffn;
        const block = writeBootParams({ ...plain, memory: ranges, commandLine }, address);
        const read = readBootParams(block);
        expect(readCommandLine(block, address, read)).toBe(commandLine);
        const rest = readSetupData(block, address, read.setupData)
          .filter(({ type }) => type === setupDataType.e820Ext)
          .flatMap(({ data }) => readE820(data));
        expect([...read.memory, ...rest]).toEqual(ranges);
      }),
      { numRuns: 60 },
    );
  });
});

describe("boot_params of another kernel", () => {
  test("that end early are refused", () => {
    expect(() => readBootParams(new Uint8Array(4095))).toThrow(/Cannot read boot_params/);
  });

  test("of random bytes, and with setup_data that leads anywhere, end in a value or a RekernelError", () => {
    const block = fc.uint8Array({ minLength: bootParamsBytes, maxLength: bootParamsBytes + 200 });
    fc.assert(
      fc.property(block, fc.bigInt(0n, 1n << 64n), fc.bigInt(0n, 1n << 64n), (bytes, address, first) => {
        const page = readBootParams(bytes);
        readCommandLine(bytes, address, page);
        for (const start of [first, address + (first & 0xffn), page.setupData])
          try {
            readSetupData(bytes, address, start);
          } catch (error) {
            if (!(error instanceof RekernelError)) throw error;
          }
      }),
    );
    const circle = new Uint8Array(32);
    new DataView(circle.buffer).setBigUint64(0, 0x1000n, true);
    expect(() => readSetupData(circle, 0x1000n, 0x1000n)).toThrow("in a circle");
  });
});
