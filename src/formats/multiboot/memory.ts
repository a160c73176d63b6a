/** The memory map as both versions of Multiboot tell it. */
import type { MemoryKind, MemoryRange } from "../memory-map.ts";

/** MULTIBOOT_MEMORY_…: the same numbers in both versions, named after the kinds of e820. */
const memoryTypes = {
  available: 1,
  reserved: 2,
  acpiReclaimable: 3,
  nvs: 4,
  badram: 5,
} as const;

const typeOfKind: Readonly<Record<MemoryKind, number>> = {
  ram: memoryTypes.available,
  reserved: memoryTypes.reserved,
  acpi: memoryTypes.acpiReclaimable,
  "acpi-nvs": memoryTypes.nvs,
  unusable: memoryTypes.badram,
  // Multiboot does not know these: what a kernel does not know, it must leave alone.
  persistent: memoryTypes.reserved,
  "persistent-legacy": memoryTypes.reserved,
  "soft-reserved": memoryTypes.reserved,
};

/** One entry of the map that a kernel is given. */
export interface MultibootMemory {
  address: bigint;
  length: bigint;
  /** 1 is free to use; any number that a kernel does not know is not. */
  type: number;
}

/** Empty ranges are left out. */
export function multibootMemory(ranges: readonly MemoryRange[]): MultibootMemory[] {
  return ranges
    .filter(({ start, end }) => end > start)
    .map(({ start, end, kind }) => ({ address: start, length: end - start, type: typeOfKind[kind] }));
}

/**
 * mem_lower and mem_upper, in KiB: memory from 0, 640 KiB at most, and from 1 MiB up to the first hole.
 *
 * @param ranges ordered by address; neighbours may touch
 */
export function lowerAndUpperMemory(ranges: readonly MemoryRange[]): { lowerKiB: number; upperKiB: number } {
  const reach = (from: bigint) => {
    let end = from;
    for (const range of ranges)
      if (range.kind === "ram" && range.start <= end && range.end > end) end = range.end;
    return end - from;
  };
  const kib = (bytes: bigint, limit: bigint) => Number((bytes < limit ? bytes : limit) >> 10n);
  // The first page is often kept from everybody (the BIOS's own data); loaders count over it.
  const lower = reach(0n) || (reach(0x1000n) === 0n ? 0n : reach(0x1000n) + 0x1000n);
  return { lowerKiB: kib(lower, 640n << 10n), upperKiB: kib(reach(1n << 20n), 0xffffffffn << 10n) };
}
