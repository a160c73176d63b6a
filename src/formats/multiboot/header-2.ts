/**
 * The Multiboot2 header: a list of tags by which a kernel tells a boot loader what it needs.
 *
 * Source: Multiboot2 Specification version 2.0, chapter 3.1.
 */
import type { RekernelError } from "../../core/errors.ts";
import { ByteReader } from "../bytes.ts";
import { badImage } from "../bzimage.ts";
import type { AddressFields } from "./placed-file.ts";

/** What stands in EAX when the kernel is entered. */
export const multiboot2BootMagic = 0x36d76289;

const headerMagic = 0xe85250d6;
/** The whole header lies within this much of the file's beginning. */
const searchBytes = 32768;
/** 32-bit protected mode of i386; the only other one is MIPS. */
const architectureI386 = 0;

/** A load_addr of -1: the file is loaded from its beginning. */
const wholeFile = 0xffffffff;

/** MULTIBOOT_HEADER_TAG_… */
const tagTypes = {
  end: 0,
  informationRequest: 1,
  address: 2,
  entryAddress: 3,
  consoleFlags: 4,
  framebuffer: 5,
  moduleAlign: 6,
  efiBootServices: 7,
  entryAddressEfi32: 8,
  entryAddressEfi64: 9,
  relocatable: 10,
} as const;

/** Where a kernel that can lie anywhere wants to lie. */
export interface Relocatable {
  minAddress: number;
  /** The last address that it may reach. */
  maxAddress: number;
  align: number;
  preference: "none" | "lowest" | "highest";
}

/** What of a header a boot loader must do, or else refuse the kernel. */
export interface Demand {
  /** Types of information tags that the kernel cannot do without. */
  information: readonly number[];
  /** Types of header tags that are not optional and that the specification does not know. */
  unknownTags: readonly number[];
}

export interface MultibootHeader2 {
  /** Where it begins in the file. */
  offset: number;
  length: number;
  addresses: AddressFields | undefined;
  entry: number | undefined;
  relocatable: Relocatable | undefined;
  alignModules: boolean;
  console: { required: boolean; egaText: boolean; optional: boolean } | undefined;
  framebuffer: { width: number; height: number; depth: number; optional: boolean } | undefined;
  /** It could be started with the firmware's boot services still there. */
  efiBootServices: boolean;
  /** Types of information tags that it asks for and can do without. */
  wishes: readonly number[];
  demand: Demand;
}

/**
 * True for a file that has a header: magic, architecture, length and a checksum that makes their sum zero, at a
 * multiple of 8.
 */
export function isMultiboot2(bytes: Uint8Array): boolean {
  return headerOffset(bytes) !== undefined;
}

function headerOffset(bytes: Uint8Array): number | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, searchBytes));
  for (let at = 0; at + 16 <= view.byteLength; at += 8) {
    if (view.getUint32(at, true) !== headerMagic) continue;
    const sum = [0, 4, 8, 12].reduce((total, word) => total + view.getUint32(at + word, true), 0);
    if (sum >>> 0 === 0) return at;
  }
  return undefined;
}

/**
 * Finds and reads the header.
 *
 * @returns undefined for a file that has none
 * @throws RekernelError RK-BAD-IMAGE (1) for a header for another architecture, one that is cut off, or one
 *   whose tags contradict it
 */
export function findMultiboot2(bytes: Uint8Array, name: string): MultibootHeader2 | undefined {
  const fail = (reason: string): RekernelError => badImage(name, reason);
  const area = new ByteReader(bytes.subarray(0, searchBytes), () => fail("its Multiboot2 header is cut off"));
  const offset = headerOffset(bytes);
  if (offset === undefined) return undefined;
  const architecture = area.u32(offset + 4);
  if (architecture !== architectureI386)
    throw fail(
      `its Multiboot2 header is for ${architecture === 4 ? "MIPS" : `architecture ${architecture}`}, not for x86`,
    );
  const length = area.u32(offset + 8);
  if (length < 24 || offset + length > area.length)
    throw fail(`its Multiboot2 header claims ${length} bytes, which do not fit`);
  return readTags(area, offset, length, fail);
}

function readTags(
  area: ByteReader,
  offset: number,
  length: number,
  fail: (reason: string) => RekernelError,
): MultibootHeader2 {
  const wishes: number[] = [];
  const demanded: number[] = [];
  const unknownTags: number[] = [];
  const header: MultibootHeader2 = {
    offset,
    length,
    addresses: undefined,
    entry: undefined,
    relocatable: undefined,
    alignModules: false,
    console: undefined,
    framebuffer: undefined,
    efiBootServices: false,
    wishes,
    demand: { information: demanded, unknownTags },
  };
  const end = offset + length;
  for (let at = offset + 16; ; ) {
    if (at + 8 > end) throw fail("its Multiboot2 header has no last tag");
    const type = area.u16(at);
    const optional = (area.u16(at + 2) & 1) !== 0;
    const size = area.u32(at + 4);
    if (size < 8 || at + size > end) throw fail(`tag ${type} of its Multiboot2 header claims ${size} bytes`);
    const needs = (bytes: number) => {
      if (size < bytes) throw fail(`tag ${type} of its Multiboot2 header is too short (${size} bytes)`);
    };
    switch (type) {
      case tagTypes.end:
        return header;
      case tagTypes.informationRequest:
        for (let entry = at + 8; entry + 4 <= at + size; entry += 4)
          (optional ? wishes : demanded).push(area.u32(entry));
        break;
      case tagTypes.address:
        needs(24);
        header.addresses = {
          header: area.u32(at + 8),
          load: area.u32(at + 12) === wholeFile ? undefined : area.u32(at + 12),
          loadEnd: area.u32(at + 16),
          bssEnd: area.u32(at + 20),
        };
        break;
      case tagTypes.entryAddress:
        needs(12);
        header.entry = area.u32(at + 8);
        break;
      case tagTypes.consoleFlags: {
        needs(12);
        const flags = area.u32(at + 8);
        header.console = { required: (flags & 1) !== 0, egaText: (flags & 2) !== 0, optional };
        break;
      }
      case tagTypes.framebuffer:
        needs(20);
        header.framebuffer = {
          width: area.u32(at + 8),
          height: area.u32(at + 12),
          depth: area.u32(at + 16),
          optional,
        };
        break;
      case tagTypes.moduleAlign:
        header.alignModules = true;
        break;
      case tagTypes.efiBootServices:
        header.efiBootServices = true;
        break;
      // They count only while the firmware's boot services are there, which is never after a kexec.
      case tagTypes.entryAddressEfi32:
      case tagTypes.entryAddressEfi64:
        break;
      case tagTypes.relocatable:
        needs(24);
        header.relocatable = readRelocatable(area, at, fail);
        break;
      default:
        if (!optional) unknownTags.push(type);
    }
    at += Math.ceil(size / 8) * 8;
  }
}

function readRelocatable(area: ByteReader, at: number, fail: (reason: string) => RekernelError): Relocatable {
  const [minAddress, maxAddress, align, preference] = [8, 12, 16, 20].map((field) => area.u32(at + field));
  if (minAddress! > maxAddress!)
    throw fail("the addresses that its Multiboot2 header allows end before they begin");
  if (align! !== 0 && (align! & (align! - 1)) !== 0)
    throw fail(`its Multiboot2 header wants an alignment that is no power of two (${align})`);
  return {
    minAddress: minAddress!,
    maxAddress: maxAddress!,
    align: align! || 1,
    preference: preference === 1 ? "lowest" : preference === 2 ? "highest" : "none",
  };
}
