/** The memory map of a kexec: what the next kernel is told, and where its segments may lie. */
import { RekernelError } from "../core/errors.ts";
import { claimsOnRam, type IomemLine, memoryOfIomem, parseGivenMap } from "../formats/iomem.ts";
import { type AddressRange, type MemoryRange, resolveMemoryMap } from "../formats/memory-map.ts";
import { readMemoryInfo } from "../host/memory.ts";
import { readFirmwareMemmap, readIomem } from "../host/memory-map.ts";
import { type HostPaths, thisHost } from "../host/paths.ts";
import { splitCommandLine } from "./command-line.ts";
import { intersect, subtract } from "./segments/ranges.ts";

export interface KexecMemory {
  /** Where the map comes from: the firmware's, the running kernel's (/proc/iomem), or a file. */
  source: "firmware" | "running" | "given";
  /** For the next kernel: ordered, without overlaps. */
  map: readonly MemoryRange[];
  /** RAM that segments may take: without a crash kernel's memory and other claims. */
  room: readonly AddressRange[];
  /** RAM of which the running kernel disposes; undefined for a given map, which is another machine's. */
  totalRamBytes: number | undefined;
  /** What is uncertain about it, in full sentences. */
  notes: readonly string[];
}

/**
 * The map of a file: /proc/iomem's text or a log's BIOS-e820 lines.
 *
 * @throws RekernelError RK-BAD-MEMORY-MAP (1)
 */
export function givenMemory(text: string, path: string): KexecMemory {
  const lines = parseGivenMap(text, path);
  const map = resolveMemoryMap(memoryOfIomem(lines));
  return {
    source: "given",
    map,
    room: subtract(ramOf(map), claimsOnRam(lines)),
    totalRamBytes: undefined,
    notes: [],
  };
}

/**
 * What is known of this machine put together. The next kernel gets the firmware's map, which the kernel keeps
 * as it got it; with `add_efi_memmap` the running kernel's knows more.
 *
 * @throws RekernelError RK-NO-MEMORY-MAP (5) where neither is readable
 */
export function machineMemory(
  firmware: readonly MemoryRange[] | undefined,
  iomem: readonly IomemLine[] | undefined,
  runningCommandLine: string,
  totalRamBytes: number | undefined,
): KexecMemory {
  const running = iomem && resolveMemoryMap(memoryOfIomem(iomem));
  const preferRunning = splitCommandLine(runningCommandLine).includes("add_efi_memmap");
  const fromRunning = firmware === undefined || (preferRunning && running !== undefined);
  const ranges = fromRunning ? running : resolveMemoryMap(firmware);
  if (ranges === undefined)
    throw new RekernelError(
      "machineCannot",
      "RK-NO-MEMORY-MAP",
      "The memory map cannot be read: the kernel shows none in /sys/firmware/memmap, and /proc/iomem shows its addresses to root only.",
      { hint: "Run it as root, or give a map: --memory-map FILE" },
    );
  const room = ramOf(ranges);
  return {
    source: fromRunning ? "running" : "firmware",
    map: ranges,
    room: iomem === undefined ? room : subtract(intersect(room, ramOf(running ?? [])), claimsOnRam(iomem)),
    totalRamBytes,
    notes:
      iomem === undefined
        ? [
            "/proc/iomem shows its addresses to root only: memory that a crash kernel or a driver keeps is not left out of this plan.",
          ]
        : [],
  };
}

/** {@link machineMemory} of this machine. */
export async function readKexecMemory(
  runningCommandLine: string,
  host: HostPaths = thisHost,
): Promise<KexecMemory> {
  const [firmware, iomem, info] = await Promise.all([
    readFirmwareMemmap(host),
    readIomem(host),
    readMemoryInfo(host),
  ]);
  return machineMemory(firmware, iomem, runningCommandLine, info.get("MemTotal"));
}

function ramOf(map: readonly MemoryRange[]): AddressRange[] {
  return map.filter(({ kind }) => kind === "ram");
}
