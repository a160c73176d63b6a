/**
 * The firmware's memory map as the kernel keeps it for kexec, /sys/firmware/memmap: a folder for each entry
 * (drivers/firmware/memmap.c; Documentation/ABI/testing/sysfs-firmware-memmap).
 */
import { memoryKindOf } from "./iomem.ts";
import type { MemoryRange } from "./memory-map.ts";

const address = /^0x[0-9a-f]{1,16}$/;

/**
 * One entry from the texts of its files. A type without a name here is reserved memory.
 *
 * @returns undefined for texts that are no addresses, or an end before the start
 */
export function parseMemmapEntry(start: string, end: string, type: string): MemoryRange | undefined {
  if (!address.test(start) || !address.test(end)) return undefined;
  const range = { start: BigInt(start), end: BigInt(end) + 1n };
  return range.end <= range.start ? undefined : { ...range, kind: memoryKindOf(type) ?? "reserved" };
}
