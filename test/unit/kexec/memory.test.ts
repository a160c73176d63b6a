import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseIomem } from "../../../src/formats/iomem.ts";
import type { MemoryRange } from "../../../src/formats/memory-map.ts";
import { serialPortOf } from "../../../src/kexec/lay-out.ts";
import { givenMemory, machineMemory } from "../../../src/kexec/memory.ts";

const firmware: MemoryRange[] = [
  { start: 0x100000n, end: 0x40000000n, kind: "ram" },
  { start: 0n, end: 0x9fc00n, kind: "ram" },
  { start: 0x3ff00000n, end: 0x40000000n, kind: "acpi" },
];
const iomem = parseIomem(`00000000-00000fff : Reserved
00001000-0009fbff : System RAM
00100000-2fffffff : System RAM
  01000000-01ffffff : Kernel code
  10000000-1fffffff : Crash kernel
30000000-3fefffff : System RAM
  38000000-380fffff : ramoops:dump(0/1)
3ff00000-3fffffff : ACPI Tables
40000000-4fffffff : Soft Reserved
`);

describe("this machine's memory", () => {
  test("is the firmware's for the next kernel, and less for segments", () => {
    const memory = machineMemory(firmware, iomem, "ro quiet", 1 << 30);
    expect(memory).toMatchObject({ source: "firmware", notes: [], totalRamBytes: 1 << 30 });
    expect(memory.map).toEqual([
      { start: 0n, end: 0x9fc00n, kind: "ram" },
      { start: 0x100000n, end: 0x3ff00000n, kind: "ram" },
      { start: 0x3ff00000n, end: 0x40000000n, kind: "acpi" },
    ]);
    expect(memory.room).toEqual([
      { start: 0x1000n, end: 0x9fc00n },
      { start: 0x100000n, end: 0x10000000n },
      { start: 0x20000000n, end: 0x38000000n },
      { start: 0x38100000n, end: 0x3ff00000n },
    ]);
  });

  test("is the running kernel's where the firmware's is not shown, or EFI's was added to it", () => {
    for (const [map, line] of [
      [undefined, ""],
      [firmware, "ro add_efi_memmap"],
    ] as const) {
      const memory = machineMemory(map, iomem, line, undefined);
      expect(memory.source).toBe("running");
      expect(memory.map.at(-1)).toEqual({ start: 0x40000000n, end: 0x50000000n, kind: "soft-reserved" });
    }
  });

  test("is the firmware's alone, with a note, where /proc/iomem is hidden", () => {
    const memory = machineMemory(firmware, undefined, "add_efi_memmap", undefined);
    expect(memory.source).toBe("firmware");
    expect(memory.room).toHaveLength(2);
    expect(memory.notes[0]).toMatch(/to root only/);
  });

  test("cannot be planned with where both are", () => {
    expect(() => machineMemory(undefined, undefined, "", undefined)).toThrow(
      expect.objectContaining({ code: "RK-NO-MEMORY-MAP", exitCode: 5 }),
    );
  });
});

test("segments never lie outside of what both maps call RAM, nor in what is claimed, whatever the maps say", () => {
  const kinds = ["ram", "reserved", "acpi", "acpi-nvs", "unusable", "persistent", "soft-reserved"] as const;
  const piece = fc.tuple(fc.nat(200), fc.integer({ min: 1, max: 80 }));
  const entry = fc.tuple(piece, fc.constantFrom(...kinds));
  const names = ["System RAM", "Reserved", "ACPI Tables", "Persistent Memory", "PCI Bus 0000:00"];
  const line = fc.tuple(
    piece,
    fc.constantFrom(...names),
    fc.option(fc.constantFrom("Crash kernel", "Kernel code")),
  );
  const within = (ranges: readonly { start: bigint; end: bigint }[], at: bigint) =>
    ranges.some(({ start, end }) => start <= at && at < end);
  fc.assert(
    fc.property(fc.array(entry), fc.array(line), (entries, lines) => {
      const firmwareMap = entries.map(([[start, size], kind]) => ({
        start: BigInt(start),
        end: BigInt(start + size),
        kind,
      }));
      const text = lines
        .flatMap(([[start, size], name, child]) => {
          const range = `${start.toString(16)}-${(start + size - 1).toString(16)}`;
          return [`${range} : ${name}`, ...(child === null ? [] : [`  ${range} : ${child}`])];
        })
        .join("\n");
      const parsed = parseIomem(text);
      const { map, room } = machineMemory(firmwareMap, parsed, "", undefined);
      for (let at = 0n; at < 300n; at++) {
        if (!within(room, at)) continue;
        expect(map.find(({ start, end }) => start <= at && at < end)?.kind).toBe("ram");
        const lastly = parsed.filter(({ start, end }) => start <= at && at < end).map(({ name }) => name);
        expect(lastly).toContain("System RAM");
        for (const name of ["Reserved", "ACPI Tables", "Persistent Memory"])
          expect(lastly).not.toContain(name);
        const claimed = parsed.some(
          ({ start, end, name, depth }, index) =>
            name === "Crash kernel" &&
            depth === 1 &&
            parsed[index - 1]?.name === "System RAM" &&
            start <= at &&
            at < end,
        );
        expect(claimed).toBe(false);
      }
    }),
  );
});

test("a given map has claims of its own", () => {
  const memory = givenMemory("100000-1fffffff : System RAM\n  8000000-fffffff : Crash kernel\n", "map");
  expect(memory).toMatchObject({ source: "given", totalRamBytes: undefined });
  expect(memory.map).toEqual([{ start: 0x100000n, end: 0x20000000n, kind: "ram" }]);
  expect(memory.room).toEqual([
    { start: 0x100000n, end: 0x8000000n },
    { start: 0x10000000n, end: 0x20000000n },
  ]);
});

test.each([
  ["console=ttyS0", 0x3f8],
  ["console=tty0 console=ttyS1,115200n8 quiet", 0x2f8],
  ["console=ttyS0 console=ttyS3", 0x2e8],
  ["console=ttyS0 console=tty0", 0x3f8],
  ["console=ttyS12", undefined],
  ["quiet", undefined],
])("the serial line of %j", (line, port) => expect(serialPortOf(line)).toBe(port));
