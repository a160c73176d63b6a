/**
 * The kernel's tree of physical addresses, /proc/iomem (kernel/resource.c r_show), and the e820 table as it
 * stands in the kernel's log (arch/x86/kernel/e820.c e820__print_table).
 */
import { RekernelError } from "../core/errors.ts";
import type { AddressRange, MemoryKind, MemoryRange } from "./memory-map.ts";

/** A line of /proc/iomem. */
export interface IomemLine extends AddressRange {
  name: string;
  /** 0 for what lies in nothing else. */
  depth: number;
}

/** Names that e820_type_to_string gives, and those of the log. */
const kinds: Readonly<Record<string, MemoryKind>> = {
  "System RAM": "ram",
  usable: "ram",
  Reserved: "reserved",
  reserved: "reserved",
  "device reserved": "reserved",
  "ACPI Tables": "acpi",
  "ACPI data": "acpi",
  "ACPI Non-volatile Storage": "acpi-nvs",
  "ACPI NVS": "acpi-nvs",
  "Unusable memory": "unusable",
  unusable: "unusable",
  "Persistent Memory": "persistent",
  "persistent (type 7)": "persistent",
  "Persistent Memory (legacy)": "persistent-legacy",
  "persistent (type 12)": "persistent-legacy",
  "Soft Reserved": "soft-reserved",
  "soft reserved": "soft-reserved",
};

/** What the names of /proc/iomem and of /sys/firmware/memmap mean; undefined for what is no memory. */
export function memoryKindOf(name: string): MemoryKind | undefined {
  return Object.hasOwn(kinds, name) ? kinds[name] : undefined;
}

/** More than any machine has; a few lines each for thousands of devices fit. */
const maxLines = 200_000;
const linePattern = /^( *)([0-9a-f]{1,16})-([0-9a-f]{1,16}) : (.*)$/;
const logPattern =
  /BIOS-e820: \[mem 0x([0-9a-f]{1,16})-0x([0-9a-f]{1,16})\](?:\s+[\d.]+ [KMGTPE]?i?B)?\s+(\S.*?)\s*$/;

/**
 * @param source what is read, for messages
 * @throws RekernelError RK-BAD-MEMORY-MAP (1) for a line of another form, an end before its start, or too many
 */
export function parseIomem(text: string, source = "/proc/iomem"): IomemLine[] {
  const lines: IomemLine[] = [];
  for (const [index, line] of linesOf(text, source)) {
    const [, indent, start, last, name] = linePattern.exec(line) ?? [];
    if (indent === undefined)
      throw badMap(source, `line ${index} is not of the form “START-END : NAME”: ${shown(line)}`);
    lines.push({
      ...rangeOf(start!, last!, source, index),
      name: name!.trim(),
      depth: Math.floor(indent.length / 2),
    });
  }
  return lines;
}

/** True where the kernel hides the addresses from a reader without CAP_SYS_ADMIN: then all of them are 0. */
export function isHiddenIomem(lines: readonly IomemLine[]): boolean {
  return lines.length > 0 && lines.every(({ start, end }) => start === 0n && end === 1n);
}

/** The lines that say what memory is, at whatever depth; devices are none. */
export function memoryOfIomem(lines: readonly IomemLine[]): MemoryRange[] {
  return lines.flatMap(({ start, end, name }) => {
    const kind = memoryKindOf(name);
    return kind === undefined ? [] : [{ start, end, kind }];
  });
}

/**
 * Parts of RAM that something lays claim to: a crash kernel's memory, a log that outlives a reset. The
 * running kernel's own code and data are none: at the jump they are no longer needed.
 */
export function claimsOnRam(lines: readonly IomemLine[]): (AddressRange & { name: string })[] {
  const claims: (AddressRange & { name: string })[] = [];
  let ramDepth: number | undefined;
  for (const { start, end, name, depth } of lines) {
    if (ramDepth !== undefined && depth <= ramDepth) ramDepth = undefined;
    if (ramDepth === undefined) {
      if (memoryKindOf(name) === "ram") ramDepth = depth;
    } else if (!/^Kernel (code|rodata|data|bss)$/.test(name) && memoryKindOf(name) !== "ram")
      claims.push({ start, end, name });
  }
  return claims;
}

/**
 * A map that a user gives: text in the form of /proc/iomem, or the `BIOS-e820:` lines of a kernel's log, where
 * other lines may stand between.
 *
 * @throws RekernelError RK-BAD-MEMORY-MAP (1), also for a map without RAM and one that was read without root
 */
export function parseGivenMap(text: string, source: string): IomemLine[] {
  const log: IomemLine[] = [];
  for (const [index, line] of linesOf(text, source)) {
    const [, start, last, name] = logPattern.exec(line) ?? [];
    if (name === undefined) continue;
    // A type that the kernel has no name for is not RAM: that is all that matters here.
    const kind = memoryKindOf(name) ?? "reserved";
    log.push({
      ...rangeOf(start!, last!, source, index),
      name: kind === "ram" ? "System RAM" : memoryKindOf(name) === undefined ? "Reserved" : name,
      depth: 0,
    });
  }
  const lines = log.length > 0 ? log : parseIomem(text, source);
  if (isHiddenIomem(lines))
    throw badMap(
      source,
      "all its addresses are 0: it was copied without root",
      "Copy it as root: sudo cat /proc/iomem >FILE",
    );
  if (!lines.some(({ name }) => memoryKindOf(name) === "ram"))
    throw badMap(source, "it holds no RAM (no “System RAM”, no “usable”)");
  return lines;
}

function* linesOf(text: string, source: string): Iterable<[number, string]> {
  let number = 0;
  for (const line of text.split("\n")) {
    if (++number > maxLines) throw badMap(source, `it has more than ${maxLines} lines`);
    const trimmed = line.trimEnd();
    if (trimmed !== "") yield [number, trimmed];
  }
}

function rangeOf(start: string, last: string, source: string, line: number): AddressRange {
  const range = { start: BigInt(`0x${start}`), end: BigInt(`0x${last}`) + 1n };
  if (range.end <= range.start) throw badMap(source, `line ${line} ends before it starts: ${start}-${last}`);
  return range;
}

function shown(line: string): string {
  return JSON.stringify(line.length > 60 ? `${line.slice(0, 60)}…` : line);
}

function badMap(source: string, reason: string, hint?: string): RekernelError {
  return new RekernelError("failed", "RK-BAD-MEMORY-MAP", `Cannot use the memory map ${source}: ${reason}.`, {
    hint:
      hint ?? "Give a copy of /proc/iomem that root made, or the BIOS-e820 lines of a kernel's log (dmesg).",
  });
}
