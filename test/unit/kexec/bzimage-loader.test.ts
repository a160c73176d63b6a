import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { RekernelError } from "../../../src/core/errors.ts";
import { readBootParams, readCommandLine, readSetupData } from "../../../src/formats/boot-params/read.ts";
import { noFirmwareFacts } from "../../../src/formats/firmware-facts.ts";
import { loadBzImage } from "../../../src/kexec/loaders/bzimage.ts";
import type { LoaderInput } from "../../../src/kexec/loaders/loader.ts";
import { givenMemory } from "../../../src/kexec/memory.ts";
import { checkSegments } from "../../../src/kexec/segments/check.ts";
import type { SegmentLayout } from "../../../src/kexec/segments/segment.ts";
import { buildBzImage, buildVmlinux } from "../kernel/build-image.ts";

const MiB = 2 ** 20;
/** Of a guest with 1 GiB and BIOS. */
const smallMachine = `00000000-00000fff : Reserved
00001000-0009fbff : System RAM
0009fc00-000fffff : Reserved
00100000-3ffdffff : System RAM
3ffe0000-3fffffff : Reserved
`;
/** Of a server with EFI, a crash kernel and memory above 4 GiB. */
const server = `00001000-0009ffff : System RAM
00100000-5f9d2fff : System RAM
  35000000-54ffffff : Crash kernel
5f9d3000-5f9d3fff : Reserved
5f9d4000-6b0f2fff : System RAM
6b0f3000-6d9f2fff : Reserved
6d9f3000-6dbeffff : ACPI Tables
6dbf0000-6e7effff : ACPI Non-volatile Storage
6e7f0000-6f7fffff : System RAM
6f800000-8fffffff : Reserved
100000000-87fffffff : System RAM
  85f000000-87effffff : Crash kernel
880000000-97fffffff : Persistent Memory
`;
/** No piece of 3 MiB but one, which does not begin where a kernel may. */
const fragments = [
  "00001000-0009ffff : System RAM",
  ...Array.from({ length: 120 }, (_, index) => {
    const start = 0x1000000 + index * 4 * MiB;
    return `${start.toString(16)}-${(start + 2.5 * MiB - 1).toString(16)} : System RAM`;
  }),
  "30123000-306fffff : System RAM",
].join("\n");

let vmlinux: Uint8Array;
let image: Uint8Array;
beforeAll(() => {
  vmlinux = buildVmlinux();
  image = buildBzImage(vmlinux);
});

function inputOf(map: string, change: Partial<LoaderInput> = {}): LoaderInput {
  const memory = givenMemory(map, "map");
  return {
    kernel: image,
    kernelName: "vmlinuz",
    imagePath: "/boot/vmlinuz",
    initrd: [Buffer.alloc(3 * MiB, 1), Buffer.alloc(100, 2)],
    modules: [],
    commandLine: "root=/dev/vda1 quiet",
    entry32Bit: false,
    fiveLevelPaging: false,
    deviceTree: undefined,
    memory: memory.map,
    room: memory.room,
    firmware: noFirmwareFacts,
    digest: "sha256",
    serialPort: undefined,
    rngSeed: Buffer.alloc(32, 9),
    random: () => 0,
    ...change,
  };
}

const find = (layout: SegmentLayout, name: string) =>
  layout.segments.find((segment) => segment.name === name)!;
const end = ({ address, memoryBytes }: { address: bigint; memoryBytes: number }) =>
  address + BigInt(memoryBytes);

/** What the next kernel would read. */
function paramsOf(layout: SegmentLayout) {
  const { address, data } = find(layout, "boot_params");
  const page = readBootParams(data);
  return {
    page,
    commandLine: readCommandLine(data, address, page),
    setupData: readSetupData(data, address, page.setupData),
  };
}

describe("a bzImage by its 64-bit entry", () => {
  test("lies at its preferred address, the rest at the top of memory", () => {
    const input = inputOf(smallMachine);
    const layout = loadBzImage(input);
    const kernel = find(layout, "kernel");
    expect(kernel.address).toBe(0x1000000n);
    expect(kernel.memoryBytes).toBeGreaterThanOrEqual(vmlinux.length + MiB);
    expect(layout.kernelEntry).toBe(0x1000200n);
    expect(layout.entry).toBe(find(layout, "purgatory").address);
    const initrd = find(layout, "initrd");
    expect(end(initrd)).toBe(0x3ffe0000n);
    const { page, commandLine, setupData } = paramsOf(layout);
    expect(commandLine).toBe(input.commandLine);
    expect(page).toMatchObject({
      initrd: { address: initrd.address, bytes: BigInt(3 * MiB + 100) },
      memory: input.memory,
      protocol: 0x020f,
      code32Start: 0x1000000,
      loadflags: 1,
    });
    expect(setupData.map(({ type }) => type)).toEqual([9]);
    expect(initrd.data.subarray(3 * MiB)).toEqual(Buffer.alloc(100, 2));
  });

  test("keeps off a crash kernel's memory and goes above 4 GiB", () => {
    const input = inputOf(server);
    const layout = loadBzImage(input);
    expect(end(find(layout, "initrd"))).toBe(0x880000000n);
    expect(find(layout, "boot_params").address > 1n << 32n).toBe(true);
    checkSegments(layout.segments, input.room, undefined);
    // What the next kernel is told has the crash kernel's memory as RAM.
    expect(paramsOf(layout).page.memory).toContainEqual({
      start: 0x100000000n,
      end: 0x880000000n,
      kind: "ram",
    });
    const big = loadBzImage(inputOf(server, { initrd: [Buffer.alloc(17 * MiB)] }));
    expect(end(find(big, "initrd"))).toBe(0x85f000000n);
  });

  test("that cannot be loaded above 4 GiB stays below, the initrd below its own limit", () => {
    const kernel = buildBzImage(vmlinux, (header) => {
      header.writeUInt16LE(0x01, 0x236);
      header.writeUInt32LE(0x37ffffff, 0x22c);
    });
    const layout = loadBzImage(inputOf(server, { kernel }));
    for (const segment of layout.segments.filter(({ name }) => name !== "purgatory"))
      expect(end(segment) <= 1n << 32n).toBe(true);
    expect(end(find(layout, "initrd")) <= 0x38000000n).toBe(true);
  });

  test("that is not relocatable lies at its preferred address or nowhere", () => {
    const kernel = buildBzImage(vmlinux, (header) => {
      header[0x234] = 0;
      header.writeBigUInt64LE(0x2345000n, 0x258);
    });
    expect(find(loadBzImage(inputOf(smallMachine, { kernel })), "kernel").address).toBe(0x2345000n);
    expect(() => loadBzImage(inputOf(fragments, { kernel }))).toThrow(
      /no room for the kernel: it needs .* exactly at 0x2345000-/,
    );
  });

  test("finds the one place on a fragmented map, or says what comes closest", () => {
    const kernel = buildBzImage(vmlinux, (header) => {
      header.writeUInt32LE(5 * MiB, 0x260);
      header.writeUInt32LE(0x100000, 0x230);
    });
    const fits = inputOf(fragments, { kernel, initrd: [Buffer.alloc(2 * MiB)] });
    const layout = loadBzImage(fits);
    expect(find(layout, "kernel").address).toBe(0x30200000n);
    checkSegments(layout.segments, fits.room, undefined);
    expect(() => loadBzImage(inputOf(fragments, { kernel }))).toThrow(
      /no room for the initrd: it needs 3\.0 MiB in one piece, and the largest free range there is 2\.5 MiB at 0x/,
    );
    const aligned = buildBzImage(vmlinux, (header) => header.writeUInt32LE(5 * MiB, 0x260));
    expect(find(loadBzImage(inputOf(fragments, { kernel: aligned, initrd: [] })), "kernel").address).toBe(
      0x30200000n,
    );
    const none = buildBzImage(vmlinux, (header) => header.writeUInt32LE(6 * MiB, 0x260));
    expect(() => loadBzImage(inputOf(fragments, { kernel: none }))).toThrow(
      /no room for the kernel: it needs 6 MiB in one piece, at or above 0x1000000, aligned to 2 MiB, and the largest free range there is 5\.9 MiB/,
    );
  });

  test("gets a device tree, and no initrd where there is none", () => {
    const layout = loadBzImage(inputOf(smallMachine, { initrd: [], deviceTree: Buffer.from("tree") }));
    expect(layout.segments.map(({ name }) => name)).toEqual(["kernel", "purgatory", "boot_params"]);
    const { page, setupData } = paramsOf(layout);
    expect(page.initrd).toEqual({ address: 0n, bytes: 0n });
    expect(setupData.at(-1)).toEqual({ type: 2, data: new Uint8Array(Buffer.from("tree")) });
  });

  test("is told of EFI if it takes that from kexec, else a note says what follows", () => {
    const efi = {
      systemTable: 0x7f5ec018n,
      firmwareVendor: 1n,
      runtime: 2n,
      configurationTable: 3n,
      smbios: 4n,
      runtimeMap: [],
    };
    const firmware = { ...noFirmwareFacts, efi, notes: ["From the firmware."] };
    const layout = loadBzImage(inputOf(server, { firmware }));
    expect(paramsOf(layout).page.efi?.systemTable).toBe(0x7f5ec018n);
    expect(layout.notes).toEqual(["From the firmware."]);
    const kernel = buildBzImage(vmlinux, (header) => header.writeUInt16LE(0x03, 0x236));
    const without = loadBzImage(inputOf(server, { firmware, kernel }));
    expect(paramsOf(without).page.efi).toBeUndefined();
    expect(without.notes.join(" ")).toMatch(/does not take EFI's facts/);
  });
});

describe("a bzImage by its 32-bit entry", () => {
  test("lies below 4 GiB with all that belongs to it", () => {
    const kernel = buildBzImage(vmlinux, (header) => header.writeUInt32LE(0x7fffffff, 0x22c));
    const layout = loadBzImage(inputOf(server, { kernel, entry32Bit: true }));
    expect(layout.kernelEntry).toBe(find(layout, "kernel").address);
    for (const segment of layout.segments) expect(end(segment) <= 1n << 32n).toBe(true);
    expect(paramsOf(layout).page.code32Start).toBe(Number(layout.kernelEntry));
  });

  test("is what a 32-bit kernel gets unasked", () => {
    const kernel = buildBzImage(vmlinux, (header) => {
      header.writeUInt16LE(0x020b, 0x206);
      header.writeUInt32LE(0x7fffffff, 0x22c);
    });
    const layout = loadBzImage(inputOf(server, { kernel }));
    expect(layout.kernelEntry).toBe(find(layout, "kernel").address);
  });
});

test("in 5-level paging a kernel that does not know it is entered by its 32-bit entry", () => {
  const entryOf = (xloadflags: number) => {
    const kernel = buildBzImage(vmlinux, (header) => {
      header.writeUInt16LE(xloadflags, 0x236);
      header.writeUInt32LE(0x7fffffff, 0x22c);
    });
    const layout = loadBzImage(inputOf(server, { kernel, fiveLevelPaging: true }));
    return layout.kernelEntry - find(layout, "kernel").address;
  };
  expect(entryOf(0x1f)).toBe(0n);
  expect(entryOf(0x3f)).toBe(0x200n);
});

describe("a header that makes no sense", () => {
  test.each<[string, (header: Buffer) => void, string]>([
    ["too old", (header) => header.writeUInt16LE(0x0209, 0x206), "RK-IMAGE-TOO-OLD"],
    ["no alignment", (header) => header.writeUInt32LE(0, 0x230), "RK-BAD-IMAGE"],
    ["a zImage", (header) => header.writeUInt8(0, 0x211), "RK-BAD-IMAGE"],
    ["an alignment of 3", (header) => header.writeUInt32LE(3, 0x230), "RK-BAD-IMAGE"],
    ["4 GiB to unpack itself", (header) => header.writeUInt32LE(0xffffffff, 0x260), "RK-KEXEC-NO-ROOM"],
    [
      "an address at the end",
      (header) => header.writeBigUInt64LE((1n << 64n) - 1n, 0x258),
      "RK-KEXEC-NO-ROOM",
    ],
  ])("%s", (_, change, code) => {
    const input = inputOf(smallMachine, { kernel: buildBzImage(vmlinux, change) });
    expect(() => loadBzImage(input)).toThrow(expect.objectContaining({ code }));
  });

  test("any header and any map give a layout that the kernel takes, or a RekernelError", () => {
    const changes = fc.array(fc.tuple(fc.integer({ min: 0x1f1, max: 0x26f }), fc.nat(255)), { maxLength: 6 });
    const pieces = fc.array(fc.tuple(fc.nat(2000), fc.integer({ min: 1, max: 400 })), {
      minLength: 1,
      maxLength: 30,
    });
    fc.assert(
      fc.property(changes, pieces, fc.boolean(), (bytes, ranges, entry32Bit) => {
        const map = ranges
          .map(
            ([at, size]) =>
              `${(at * 123_457).toString(16)}-${((at + size) * 123_457 - 1).toString(16)} : System RAM`,
          )
          .join("\n");
        const kernel = image.slice();
        for (const [at, value] of bytes) kernel[at] = value;
        const input = inputOf(map, { kernel, entry32Bit });
        try {
          const layout = loadBzImage(input);
          checkSegments(layout.segments, input.room, undefined);
          const purgatory = find(layout, "purgatory");
          expect(layout.entry >= purgatory.address && layout.entry < end(purgatory)).toBe(true);
        } catch (error) {
          if (!(error instanceof RekernelError)) throw error;
          expect(error.code).not.toBe("RK-KEXEC-LAYOUT");
        }
      }),
      { numRuns: 300 },
    );
  });
});
