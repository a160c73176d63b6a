/**
 * The information that a Multiboot kernel, version 1, finds where EBX points.
 *
 * Source: Multiboot Specification 0.6.96, chapter 3.3 (struct multiboot_info, multiboot_mod_list,
 * multiboot_mmap_entry).
 */
import { RekernelError } from "../../core/errors.ts";
import { ByteReader, cString } from "../bytes.ts";
import { framebufferBytes, type MultibootFramebuffer, readFramebuffer } from "./framebuffer.ts";
import type { MultibootMemory } from "./memory.ts";

/** A file that was loaded for the kernel. */
export interface MultibootModule {
  /** Physical addresses, from the first byte to behind the last one. */
  start: number;
  end: number;
  /** Its name and arguments. */
  text: string;
}

/** Section headers of an ELF kernel, with the addresses at which its sections lie. */
export interface MultibootSections {
  count: number;
  /** Of one header. */
  entryBytes: number;
  /** The section that holds the names. */
  nameSection: number;
}

export interface Multiboot1Information {
  commandLine: string;
  bootLoader: string;
  lowerKiB: number;
  upperKiB: number;
  memory: readonly MultibootMemory[];
  modules: readonly MultibootModule[];
  /** `address`: where the headers lie, by themselves. */
  sections: (MultibootSections & { address: number }) | undefined;
  framebuffer: MultibootFramebuffer | undefined;
}

/** struct multiboot_info up to framebuffer_… and color_info. */
const infoBytes = 116;
const moduleBytes = 16;
const memoryEntryBytes = 24;
const framebufferAt = 88;
const flags = {
  memory: 1,
  commandLine: 4,
  modules: 8,
  elfSections: 0x20,
  memoryMap: 0x40,
  bootLoader: 0x200,
  framebuffer: 0x1000,
} as const;

/**
 * The structure with all it points to behind it.
 *
 * @param address physical address at which it will lie; a multiple of 4. The size does not depend on it
 */
export function writeMultiboot1(info: Multiboot1Information, address: number): Uint8Array {
  const mapAt = infoBytes;
  const modulesAt = mapAt + info.memory.length * memoryEntryBytes;
  let textAt = modulesAt + info.modules.length * moduleBytes;
  const texts: Buffer[] = [];
  const place = (text: string) => {
    const bytes = Buffer.from(`${text}\0`);
    texts.push(bytes);
    textAt += bytes.length;
    return address + textAt - bytes.length;
  };
  const head = Buffer.alloc(textAt);
  const words: [number, number][] = [
    [4, info.lowerKiB],
    [8, info.upperKiB],
    [16, place(info.commandLine)],
    [20, info.modules.length],
    [24, info.modules.length === 0 ? 0 : address + modulesAt],
    [44, info.memory.length * memoryEntryBytes],
    [48, info.memory.length === 0 ? 0 : address + mapAt],
    [64, place(info.bootLoader)],
  ];
  let present: number = flags.commandLine | flags.modules | flags.bootLoader;
  // Without a map the sizes would say that there is no memory, which is worse than to say nothing.
  if (info.memory.length > 0) present |= flags.memory | flags.memoryMap;
  if (info.sections !== undefined) {
    const { count, entryBytes, address: at, nameSection } = info.sections;
    present |= flags.elfSections;
    words.push([28, count], [32, entryBytes], [36, at], [40, nameSection]);
  }
  if (info.framebuffer !== undefined) {
    present |= flags.framebuffer;
    head.set(framebufferBytes(info.framebuffer, 0), framebufferAt);
  }
  for (const [at, value] of [[0, present] as [number, number], ...words]) head.writeUInt32LE(value, at);
  for (const [index, { address: base, length, type }] of info.memory.entries()) {
    const at = mapAt + index * memoryEntryBytes;
    // The size does not count itself.
    head.writeUInt32LE(memoryEntryBytes - 4, at);
    head.writeBigUInt64LE(base, at + 4);
    head.writeBigUInt64LE(length, at + 12);
    head.writeUInt32LE(type, at + 20);
  }
  for (const [index, { start, end, text }] of info.modules.entries()) {
    const at = modulesAt + index * moduleBytes;
    head.writeUInt32LE(start, at);
    head.writeUInt32LE(end, at + 4);
    head.writeUInt32LE(place(text), at + 8);
  }
  return Buffer.concat([head, ...texts]);
}

/**
 * Reads it back.
 *
 * @param address the physical address at which `bytes` lie
 * @throws RekernelError RK-BAD-IMAGE (1) for what points outside
 */
export function readMultiboot1(bytes: Uint8Array, address: number): Multiboot1Information {
  const r = new ByteReader(bytes, badInformation);
  const present = r.u32(0);
  const has = (flag: number) => (present & flag) !== 0;
  const text = (pointer: number) => {
    r.u8(pointer - address);
    return Buffer.from(cString(bytes, pointer - address), "latin1").toString();
  };
  const list = <T>(at: number, count: number, size: number, read: (at: number) => T): T[] => {
    r.slice(at, count * size, "a list");
    return Array.from({ length: count }, (_, index) => read(at + index * size));
  };
  return {
    commandLine: has(flags.commandLine) ? text(r.u32(16)) : "",
    bootLoader: has(flags.bootLoader) ? text(r.u32(64)) : "",
    lowerKiB: has(flags.memory) ? r.u32(4) : 0,
    upperKiB: has(flags.memory) ? r.u32(8) : 0,
    memory: has(flags.memoryMap) ? readMemoryMap(r, r.u32(48) - address, r.u32(44)) : [],
    modules:
      has(flags.modules) && r.u32(20) > 0
        ? list(r.u32(24) - address, r.u32(20), moduleBytes, (at) => ({
            start: r.u32(at),
            end: r.u32(at + 4),
            text: text(r.u32(at + 8)),
          }))
        : [],
    sections: has(flags.elfSections)
      ? { count: r.u32(28), entryBytes: r.u32(32), address: r.u32(36), nameSection: r.u32(40) }
      : undefined,
    framebuffer: has(flags.framebuffer) ? readFramebuffer(r.slice(framebufferAt, 28), 0) : undefined,
  };
}

function readMemoryMap(r: ByteReader, from: number, length: number): MultibootMemory[] {
  const memory: MultibootMemory[] = [];
  for (let at = from; at < from + length; ) {
    memory.push({ address: r.u64(at + 4), length: r.u64(at + 12), type: r.u32(at + 20) });
    at += r.u32(at) + 4;
  }
  return memory;
}

export function badInformation(reason: string): RekernelError {
  return new RekernelError("failed", "RK-BAD-IMAGE", `The Multiboot information cannot be read: ${reason}.`);
}
