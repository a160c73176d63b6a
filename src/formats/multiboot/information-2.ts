/**
 * The information that a Multiboot2 kernel finds where EBX points: a list of tags.
 *
 * Source: Multiboot2 Specification version 2.0, chapter 3.6. Where its text and its example header differ
 * (ELF sections: three 16-bit or three 32-bit fields), the header is right: GRUB writes it so.
 */
import { ByteReader, cString } from "../bytes.ts";
import { framebufferBytes, type MultibootFramebuffer, readFramebuffer } from "./framebuffer.ts";
import { badInformation, type MultibootModule, type MultibootSections } from "./information-1.ts";
import type { MultibootMemory } from "./memory.ts";

/** MULTIBOOT_TAG_TYPE_… of what is written here. */
const tagTypes = {
  end: 0,
  commandLine: 1,
  bootLoader: 2,
  module: 3,
  basicMemory: 4,
  memoryMap: 6,
  framebuffer: 8,
  elfSections: 9,
  acpiOld: 14,
  acpiNew: 15,
  loadBase: 21,
} as const;

/**
 * Information that the specification knows and that nobody has after a kexec: the BIOS is gone, and so are
 * the firmware's boot services, or nothing tells where it is.
 */
export const lostInformation: Readonly<Record<number, string>> = {
  5: "the BIOS boot device",
  7: "VBE",
  10: "the APM table",
  11: "the EFI system table",
  12: "the EFI system table",
  13: "the SMBIOS tables",
  16: "the answer of DHCP",
  17: "the EFI memory map",
  18: "EFI boot services",
  19: "the EFI image handle",
  20: "the EFI image handle",
};

/** True for the types that {@link writeMultiboot2} writes, where the machine has such a thing. */
export function isKnownInformation(type: number): boolean {
  return Object.values<number>(tagTypes).includes(type);
}

const headBytes = 8;
const memoryEntryBytes = 24;

export interface Multiboot2Information {
  commandLine: string;
  bootLoader: string;
  lowerKiB: number;
  upperKiB: number;
  memory: readonly MultibootMemory[];
  modules: readonly MultibootModule[];
  /** The headers themselves are part of the tag. */
  sections: (MultibootSections & { headers: Uint8Array }) | undefined;
  /** A copy of the RSDP; one of version 2 or later is longer than 20 bytes. */
  rsdp: Uint8Array | undefined;
  /** Where the kernel came to lie; told to those that can lie anywhere. */
  loadBase: number | undefined;
  framebuffer: MultibootFramebuffer | undefined;
}

/** Reserved bytes between framebuffer_type and the colours. */
const framebufferGap = 2;

/** RSDP of ACPI 1.0. */
const oldRsdpBytes = 20;

/** The whole list. It holds no address of its own, so it can lie at any multiple of 8. */
export function writeMultiboot2(info: Multiboot2Information): Uint8Array {
  const tags = [
    tag(tagTypes.commandLine, text(info.commandLine)),
    tag(tagTypes.bootLoader, text(info.bootLoader)),
    ...info.modules.map(({ start, end, text: words }) =>
      tag(tagTypes.module, numbers(start, end), text(words)),
    ),
    ...(info.memory.length === 0
      ? []
      : [
          tag(tagTypes.basicMemory, numbers(info.lowerKiB, info.upperKiB)),
          tag(tagTypes.memoryMap, numbers(memoryEntryBytes, 0), ...info.memory.map(memoryEntry)),
        ]),
    ...(info.sections === undefined
      ? []
      : [
          tag(
            tagTypes.elfSections,
            numbers(info.sections.count, info.sections.entryBytes, info.sections.nameSection),
            info.sections.headers,
          ),
        ]),
    ...(info.framebuffer === undefined
      ? []
      : [tag(tagTypes.framebuffer, framebufferBytes(info.framebuffer, framebufferGap))]),
    ...(info.rsdp === undefined ? [] : rsdpTags(info.rsdp)),
    ...(info.loadBase === undefined ? [] : [tag(tagTypes.loadBase, numbers(info.loadBase))]),
    tag(tagTypes.end),
  ];
  const body = Buffer.concat(tags);
  return Buffer.concat([numbers(headBytes + body.length, 0), body]);
}

/** Kernels of ACPI 1.0 look at the old tag only: it is given as well, as the first 20 bytes are the same. */
function rsdpTags(rsdp: Uint8Array): Buffer[] {
  const old = tag(tagTypes.acpiOld, rsdp.subarray(0, oldRsdpBytes));
  return rsdp.length > oldRsdpBytes ? [old, tag(tagTypes.acpiNew, rsdp)] : [old];
}

/** Filled up to a multiple of 8; the size does not count that. */
function tag(type: number, ...parts: Uint8Array[]): Buffer {
  const size = headBytes + parts.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([numbers(type, size), ...parts], Math.ceil(size / 8) * 8);
}

function text(words: string): Buffer {
  return Buffer.from(`${words}\0`);
}

function numbers(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  for (const [index, value] of values.entries()) bytes.writeUInt32LE(value, index * 4);
  return bytes;
}

function memoryEntry({ address, length, type }: MultibootMemory): Buffer {
  const bytes = Buffer.alloc(memoryEntryBytes);
  bytes.writeBigUInt64LE(address, 0);
  bytes.writeBigUInt64LE(length, 8);
  bytes.writeUInt32LE(type, 16);
  return bytes;
}

/**
 * Reads it back; tags that nobody here writes are skipped.
 *
 * @throws RekernelError RK-BAD-IMAGE (1)
 */
export function readMultiboot2(bytes: Uint8Array): Multiboot2Information {
  const whole = new ByteReader(bytes, badInformation);
  const r = new ByteReader(whole.slice(0, whole.u32(0), "the list of tags"), badInformation);
  const modules: MultibootModule[] = [];
  const memory: MultibootMemory[] = [];
  const info: Multiboot2Information = {
    commandLine: "",
    bootLoader: "",
    lowerKiB: 0,
    upperKiB: 0,
    memory,
    modules,
    sections: undefined,
    rsdp: undefined,
    loadBase: undefined,
    framebuffer: undefined,
  };
  for (let at = headBytes; ; ) {
    const type = r.u32(at);
    const size = r.u32(at + 4);
    if (size < headBytes) throw badInformation(`a tag claims ${size} bytes`);
    const body = new ByteReader(r.slice(at + headBytes, size - headBytes, "a tag"), badInformation);
    const words = (from: number) => Buffer.from(cString(body.bytes, from), "latin1").toString();
    if (type === tagTypes.end) return info;
    if (type === tagTypes.commandLine) info.commandLine = words(0);
    if (type === tagTypes.bootLoader) info.bootLoader = words(0);
    if (type === tagTypes.module) modules.push({ start: body.u32(0), end: body.u32(4), text: words(8) });
    if (type === tagTypes.basicMemory) {
      info.lowerKiB = body.u32(0);
      info.upperKiB = body.u32(4);
    }
    if (type === tagTypes.memoryMap) {
      const step = body.u32(0);
      if (step < memoryEntryBytes) throw badInformation(`entries of the memory map have ${step} bytes`);
      for (let entry = 8; entry < body.length; entry += step)
        memory.push({ address: body.u64(entry), length: body.u64(entry + 8), type: body.u32(entry + 16) });
    }
    if (type === tagTypes.elfSections)
      info.sections = {
        count: body.u32(0),
        entryBytes: body.u32(4),
        nameSection: body.u32(8),
        headers: body.bytes.subarray(12),
      };
    if (type === tagTypes.framebuffer) info.framebuffer = readFramebuffer(body.bytes, framebufferGap);
    if (type === tagTypes.acpiOld) info.rsdp ??= body.bytes;
    if (type === tagTypes.acpiNew) info.rsdp = body.bytes;
    if (type === tagTypes.loadBase) info.loadBase = body.u32(0);
    at += Math.ceil(size / 8) * 8;
  }
}
