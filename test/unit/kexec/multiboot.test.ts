import { beforeAll, describe, expect, test } from "vitest";
import { noFirmwareFacts } from "../../../src/formats/firmware-facts.ts";
import type { MemoryRange } from "../../../src/formats/memory-map.ts";
import { readMultiboot1 } from "../../../src/formats/multiboot/information-1.ts";
import { readMultiboot2 } from "../../../src/formats/multiboot/information-2.ts";
import { loadElf32 } from "../../../src/kexec/loaders/elf32.ts";
import type { LoaderInput } from "../../../src/kexec/loaders/loader.ts";
import { loadMultiboot } from "../../../src/kexec/loaders/multiboot.ts";
import { loadMultiboot2 } from "../../../src/kexec/loaders/multiboot2.ts";
import { checkSegments } from "../../../src/kexec/segments/check.ts";
import type { SegmentLayout } from "../../../src/kexec/segments/segment.ts";
import { buildMultibootKernel, linkedAt, type MultibootKernelVariant } from "../../vm/multiboot/build.ts";

const MiB = 1n << 20n;
const memory: MemoryRange[] = [
  { start: 0x1000n, end: 0x9fc00n, kind: "ram" },
  { start: 0x9fc00n, end: 0xa0000n, kind: "reserved" },
  { start: MiB, end: 512n * MiB, kind: "ram" },
  { start: 512n * MiB, end: 513n * MiB, kind: "acpi" },
];
const rooms = (map: readonly MemoryRange[]) => map.filter(({ kind }) => kind === "ram");

const kernels = new Map<string, Uint8Array>();
function kernelOf(variant: MultibootKernelVariant): Uint8Array {
  const key = JSON.stringify(variant);
  const kernel = kernels.get(key) ?? buildMultibootKernel(variant);
  kernels.set(key, kernel);
  return kernel;
}
beforeAll(() => {
  kernelOf({ version: 1 });
  kernelOf({ version: 2, relocatable: true });
});

function input(kernel: Uint8Array, changes: Partial<LoaderInput> = {}): LoaderInput {
  return {
    kernel,
    kernelName: "/boot/kernel",
    imagePath: "/boot/kernel",
    initrd: [],
    modules: [],
    commandLine: "one two",
    entry32Bit: false,
    fiveLevelPaging: false,
    deviceTree: undefined,
    memory,
    room: rooms(changes.memory ?? memory),
    firmware: noFirmwareFacts,
    digest: "sum",
    serialPort: undefined,
    rngSeed: new Uint8Array(32),
    random: () => 0,
    ...changes,
  };
}

const moduleOf = (name: string, text: string, commandLine = "") => ({
  name,
  commandLine,
  data: Buffer.from(text),
});

/** Memory as the kernel finds it at the jump. */
function memoryAt({ segments }: SegmentLayout, address: bigint | number, size: number): Buffer {
  const at = BigInt(address);
  const segment = segments.find(
    (found) => at >= found.address && at + BigInt(size) <= found.address + BigInt(found.memoryBytes),
  );
  if (segment === undefined) throw new Error(`nothing lies at 0x${at.toString(16)}`);
  const bytes = Buffer.alloc(segment.memoryBytes);
  bytes.set(segment.data);
  return bytes.subarray(Number(at - segment.address), Number(at - segment.address) + size);
}

/** What lies in the segment that begins with the information. */
function information(layout: SegmentLayout) {
  const { address, data } = layout.segments.find(({ name }) => name === "boot information")!;
  return { address: Number(address), data };
}

describe("a Multiboot kernel", () => {
  test.each([
    ["as ELF file", { version: 1 }],
    ["as ELF file of 64 bits", { version: 1, elf64: true }],
    ["flat", { version: 1, flat: true }],
  ] as const)("%s lies where it was linked to, and is told what there is", (_name, variant) => {
    const kernel = kernelOf(variant);
    const modules = [moduleOf("/a", "first", "x=1 y"), moduleOf("/b", "the second")];
    const layout = loadMultiboot(input(kernel, { modules }));
    checkSegments(layout.segments, rooms(memory), 512 * 2 ** 20);
    const header = memoryAt(layout, linkedAt, 8);
    expect(header.readUInt32LE(0)).toBe(0x1badb002);
    expect(memoryAt(layout, layout.kernelEntry, 1)[0]).toBe(0xfa);
    expect(memoryAt(layout, linkedAt + 0x5000, 16)).toEqual(Buffer.alloc(16));
    const { address, data } = information(layout);
    expect(address).toBe(0x10000);
    const told = readMultiboot1(data, address);
    expect(told).toMatchObject({
      commandLine: "/boot/kernel one two",
      bootLoader: "rekernel",
      lowerKiB: 639,
      upperKiB: 511 * 1024,
    });
    expect(told.memory.map(({ type }) => type)).toEqual([1, 2, 1, 3]);
    expect(told.modules.map(({ text }) => text)).toEqual(["/a x=1 y", "/b"]);
    for (const [index, { start, end }] of told.modules.entries()) {
      expect(start % 4096).toBe(0);
      expect(start).toBeGreaterThan(linkedAt);
      expect(memoryAt(layout, start, end - start)).toEqual(modules[index]!.data);
    }
    expect(told.sections === undefined).toBe("flat" in variant);
    expect(layout.segments.at(-1)).toMatchObject({ name: "purgatory" });
    expect(layout.entry).toBe(layout.segments.at(-1)!.address);
  });

  test("finds its symbols where the section headers say", () => {
    for (const elf64 of [false, true]) {
      const layout = loadMultiboot(input(kernelOf({ version: 1, elf64 })));
      const { sections } = readMultiboot1(information(layout).data, information(layout).address);
      const { count, entryBytes, address, nameSection } = sections!;
      expect(entryBytes).toBe(elf64 ? 64 : 40);
      const headers = memoryAt(layout, address, count * entryBytes);
      const field = (index: number, narrow: number, wide: number) =>
        headers.readUInt32LE(index * entryBytes + (elf64 ? wide : narrow));
      const names = memoryAt(layout, field(nameSection, 12, 16), field(nameSection, 20, 32)).toString(
        "latin1",
      );
      expect(names).toContain("\0.symtab\0");
      const strings = Array.from({ length: count }, (_, index) => index).filter(
        (index) => field(index, 4, 4) === 3 && index !== nameSection,
      );
      expect(memoryAt(layout, field(strings[0]!, 12, 16), field(strings[0]!, 20, 32)).toString()).toContain(
        "kernel_main",
      );
    }
  });

  test("takes more modules than there are segments", () => {
    const modules = Array.from({ length: 30 }, (_, index) => moduleOf(`/m${index}`, "x".repeat(index * 500)));
    const layout = loadMultiboot(input(kernelOf({ version: 1 }), { modules }));
    checkSegments(layout.segments, rooms(memory), undefined);
    const told = readMultiboot1(information(layout).data, information(layout).address);
    for (const [index, { start, end, text }] of told.modules.entries()) {
      expect([start % 4096, end - start, text]).toEqual([0, index * 500, `/m${index}`]);
      expect(memoryAt(layout, start, end - start)).toEqual(modules[index]!.data);
    }
  });

  test("without room says what comes closest", () => {
    const small: MemoryRange[] = [{ start: MiB, end: 16n * MiB, kind: "ram" }];
    expect(() => loadMultiboot(input(kernelOf({ version: 1 }), { memory: small }))).toThrow(
      expect.objectContaining({
        code: "RK-KEXEC-NO-ROOM",
        message: expect.stringMatching(/no room for the kernel.*exactly at 0x2000000-/),
        hint: expect.stringContaining("cannot be moved"),
      }),
    );
    const modules = [{ name: "/big", commandLine: "", data: Buffer.alloc(600 << 20) }];
    expect(() => loadMultiboot(input(kernelOf({ version: 1 }), { modules }))).toThrow(
      /no room for the module big: it needs 600 MiB .*largest free range/,
    );
    // What is left of memory lies in front of the kernel only, or above 4 GiB.
    const tight: MemoryRange[] = [
      { start: MiB, end: 2n * MiB, kind: "ram" },
      { start: BigInt(linkedAt), end: BigInt(linkedAt) + 0x7000n, kind: "ram" },
      { start: 1n << 32n, end: 1n << 33n, kind: "ram" },
    ];
    const layout = loadMultiboot(
      input(kernelOf({ version: 1 }), { memory: tight, modules: [moduleOf("/m", "data")] }),
    );
    for (const { address } of layout.segments) expect(address).toBeLessThan(1n << 32n);
  });

  test("takes no initrd", () => {
    const initrd = [Buffer.from("070701")];
    for (const load of [() => loadMultiboot(input(kernelOf({ version: 1 }), { initrd }))])
      expect(load).toThrow(
        expect.objectContaining({ code: "RK-USAGE", hint: expect.stringContaining("--module") }),
      );
  });

  test("that asks for a video mode hears of the screen, or is noted", () => {
    const kernel = Uint8Array.from(kernelOf({ version: 1 }));
    const view = new DataView(kernel.buffer);
    view.setUint32(0x1004, 7, true);
    view.setUint32(0x1008, -(0x1badb002 + 7) >>> 0, true);
    expect(loadMultiboot(input(kernel)).notes.join()).toMatch(/asks for a video mode/);
    const info = Buffer.alloc(64);
    info.set([3, 80], 6);
    info.set([25, 1], 0x0e);
    const screen = { info, edid: new Uint8Array(128) };
    const layout = loadMultiboot(input(kernel, { firmware: { ...noFirmwareFacts, screen } }));
    expect(layout.notes).toEqual([]);
    expect(readMultiboot1(information(layout).data, 0x10000).framebuffer).toMatchObject({
      width: 80,
      type: 2,
    });
  });
});

describe("a Multiboot2 kernel", () => {
  test("is told the same by tags", () => {
    const rsdp = Buffer.alloc(36, "RSD PTR ");
    const modules = [moduleOf("/a", "first", "x=1 y")];
    const firmware = { ...noFirmwareFacts, acpiRsdpTable: rsdp };
    const layout = loadMultiboot2(input(kernelOf({ version: 2 }), { modules, firmware }));
    checkSegments(layout.segments, rooms(memory), undefined);
    const told = readMultiboot2(information(layout).data);
    expect(told).toMatchObject({
      commandLine: "/boot/kernel one two",
      rsdp,
      loadBase: undefined,
      lowerKiB: 639,
    });
    expect(told.sections).toMatchObject({ entryBytes: 40 });
    const [module] = told.modules;
    expect(memoryAt(layout, module!.start, 5).toString()).toBe("first");
    expect(memoryAt(layout, layout.kernelEntry, 1)[0]).toBe(0xfa);
  });

  test("that can lie anywhere goes to the end that it prefers", () => {
    const kernel = kernelOf({ version: 2, relocatable: true });
    const at = (bytes: Uint8Array, changes: Partial<LoaderInput> = {}) => {
      const layout = loadMultiboot2(input(bytes, changes));
      checkSegments(layout.segments, changes.room ?? rooms(memory), undefined);
      const base = readMultiboot2(information(layout).data).loadBase!;
      expect(memoryAt(layout, base, 4).readUInt32LE(0)).toBe(0xe85250d6);
      expect(Number(layout.kernelEntry) - base).toBeLessThan(0x1000);
      expect(memoryAt(layout, layout.kernelEntry, 1)[0]).toBe(0xfa);
      return base;
    };
    expect(at(kernel)).toBe(0x1400000);
    const withPreference = (preference: number, minimum = 0x1400000) => {
      const changed = Buffer.from(kernel);
      const tag = changed.indexOf(Buffer.from("0a00000018000000", "hex"));
      changed.writeUInt32LE(minimum, tag + 8);
      changed.writeUInt32LE(preference, tag + 20);
      return changed;
    };
    expect(at(withPreference(0))).toBe(linkedAt);
    expect(at(withPreference(2))).toBe(0x1fe00000);
    const away = [{ start: 256n * MiB, end: 300n * MiB }];
    expect(at(withPreference(0), { room: away })).toBe(0x10000000);
    expect(() => at(withPreference(1, 0x7ff00000))).toThrow(
      /no room for the kernel.*above 0x7ff00000.*below 0x7fffffff/,
    );
  });

  test("that demands what nobody can give is refused", () => {
    const demanding = (type: number) => {
      const kernel = Buffer.from(kernelOf({ version: 2 }));
      const tag = kernel.indexOf(Buffer.from("0100000014000000", "hex"));
      kernel.writeUInt32LE(type, tag + 8);
      return input(kernel);
    };
    expect(() => loadMultiboot2(demanding(99))).toThrow(
      expect.objectContaining({ code: "RK-MULTIBOOT-DEMAND", message: expect.stringContaining("type 99") }),
    );
    expect(loadMultiboot2(demanding(17)).notes.join()).toMatch(/asks for the EFI memory map/);
  });
});

describe("an ELF kernel of 32 bits", () => {
  test("is started as Linux, if it is Linux", () => {
    expect(() => loadElf32(input(kernelOf({ version: 1 })))).toThrow(
      expect.objectContaining({ code: "RK-KEXEC-KIND", exitCode: 4 }),
    );
    const linux = Buffer.concat([kernelOf({ version: 1 }), Buffer.from("Linux version 6.12.0")]);
    const initrd = [Buffer.from("070701")];
    const layout = loadElf32(input(linux, { initrd }));
    checkSegments(layout.segments, rooms(memory), undefined);
    expect(layout.segments.map(({ name }) => name)).toEqual(
      expect.arrayContaining(["kernel", "initrd", "boot_params", "purgatory"]),
    );
    expect(memoryAt(layout, layout.kernelEntry, 1)[0]).toBe(0xfa);
  });
});
