/**
 * PE32+ files, the format of UEFI programs: kernels with an EFI stub, unified kernel images, their add-ons.
 *
 * Source: Microsoft's "PE Format" (COFF file header, optional header, section table, attribute certificate
 * table); include/linux/pe.h.
 */
import { ByteReader, cString } from "./bytes.ts";
import { badImage } from "./bzimage.ts";

/** IMAGE_FILE_MACHINE_AMD64 */
export const PE_MACHINE_AMD64 = 0x8664;

const machineNames: Readonly<Record<number, string>> = {
  332: "i386",
  448: "ARM",
  450: "ARM",
  452: "ARM",
  20530: "RISC-V 32",
  20580: "RISC-V",
  25138: "LoongArch 32",
  25188: "LoongArch",
  43620: "ARM 64",
};

const dosHeaderSize = 0x40;
const coffHeaderSize = 20;
const optionalHeaderSize = 112;
const sectionHeaderSize = 40;
const pe32Plus = 0x20b;
/** IMAGE_DIRECTORY_ENTRY_SECURITY: its address is an offset in the file, unlike that of all others. */
const certificateDirectory = 4;

export interface PeSection {
  /** As it stands in the table: 8 bytes at most, without trailing NULs. */
  name: string;
  /** Relative to the image's base. */
  virtualAddress: number;
  virtualSize: number;
  /** PointerToRawData and SizeOfRawData. */
  fileOffset: number;
  fileSize: number;
  characteristics: number;
  /**
   * A view of the file: as many bytes as the section has in memory, without the padding up to the file
   * alignment. What memory would have beyond the file (zeroes) is left out.
   */
  data: Uint8Array;
}

export interface PeFile {
  machine: number;
  characteristics: number;
  /** 10 is a UEFI application. */
  subsystem: number;
  entryPoint: number;
  imageBase: bigint;
  sectionAlignment: number;
  fileAlignment: number;
  sizeOfImage: number;
  sizeOfHeaders: number;
  checksum: number;
  /** Where the checksum stands in the file: signatures leave it out. */
  checksumOffset: number;
  /** Data directories, by number. */
  directories: readonly { address: number; size: number; headerOffset: number }[];
  /** Where the signatures (WIN_CERTIFICATE, one behind the other) are in the file; undefined when unsigned. */
  certificates: { offset: number; size: number } | undefined;
  /** In the order of the section table. */
  sections: readonly PeSection[];
}

/** True for a file that begins with "MZ" and points to "PE\0\0": any PE, for any machine. */
export function isPe(bytes: Uint8Array): boolean {
  return peHeaderOffset(bytes) !== undefined;
}

/** The processor that a PE file is for, in words: "ARM 64". Undefined for a file that is no PE. */
export function peMachine(bytes: Uint8Array): { machine: number; name: string } | undefined {
  const at = peHeaderOffset(bytes);
  if (at === undefined || at + 6 > bytes.length) return undefined;
  const machine = bytes[at + 4]! | (bytes[at + 5]! << 8);
  const name = machine === PE_MACHINE_AMD64 ? "x86-64" : machineNames[machine];
  return { machine, name: name ?? `PE machine 0x${machine.toString(16)}` };
}

function peHeaderOffset(bytes: Uint8Array): number | undefined {
  if (bytes.length < dosHeaderSize || bytes[0] !== 0x4d || bytes[1] !== 0x5a) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const at = view.getUint32(0x3c, true);
  return at + 4 <= bytes.length && view.getUint32(at, true) === 0x00004550 ? at : undefined;
}

/**
 * Reads headers and section table. Sections are views of `bytes`; nothing is copied.
 *
 * @throws RekernelError RK-BAD-IMAGE (1) for a file that is no PE32+, or whose tables, sections or
 *   certificates lie outside it
 */
export function readPe(bytes: Uint8Array, name = "The file"): PeFile {
  const bad = (reason: string) => badImage(name, reason);
  const signatureAt = peHeaderOffset(bytes);
  if (signatureAt === undefined) throw bad("it has no PE header");
  const r = new ByteReader(bytes, bad);
  const coff = signatureAt + 4;
  const sectionCount = r.u16(coff + 2);
  const optionalSize = r.u16(coff + 16);
  const optional = coff + coffHeaderSize;
  const magic = r.u16(optional);
  if (magic !== pe32Plus)
    throw bad(
      `its PE header is not that of a 64-bit program (PE32+): its magic number is 0x${magic.toString(16)}`,
    );
  const directoryCount = r.u32(optional + 108);
  if (optionalSize < optionalHeaderSize || directoryCount > (optionalSize - optionalHeaderSize) / 8)
    throw bad(`its PE header of ${optionalSize} bytes has no room for ${directoryCount} data directories`);
  const directories = Array.from({ length: directoryCount }, (_, index) => {
    const headerOffset = optional + optionalHeaderSize + index * 8;
    return { address: r.u32(headerOffset), size: r.u32(headerOffset + 4), headerOffset };
  });
  const signed = directories[certificateDirectory];
  const certificates = signed && signed.size > 0 ? { offset: signed.address, size: signed.size } : undefined;
  if (certificates) r.slice(certificates.offset, certificates.size, "its signature");
  return {
    machine: r.u16(coff),
    characteristics: r.u16(coff + 18),
    subsystem: r.u16(optional + 68),
    entryPoint: r.u32(optional + 16),
    imageBase: r.u64(optional + 24),
    sectionAlignment: r.u32(optional + 32),
    fileAlignment: r.u32(optional + 36),
    sizeOfImage: r.u32(optional + 56),
    sizeOfHeaders: r.u32(optional + 60),
    checksum: r.u32(optional + 64),
    checksumOffset: optional + 64,
    directories,
    certificates,
    sections: readSections(r, optional + optionalSize, sectionCount),
  };
}

function readSections(r: ByteReader, table: number, count: number): PeSection[] {
  r.slice(table, count * sectionHeaderSize, "its section table");
  return Array.from({ length: count }, (_, index) => {
    const at = table + index * sectionHeaderSize;
    const name = cString(r.bytes.subarray(at, at + 8), 0);
    const virtualSize = r.u32(at + 8);
    const fileSize = r.u32(at + 16);
    const fileOffset = r.u32(at + 20);
    const raw = fileSize === 0 ? r.slice(0, 0) : r.slice(fileOffset, fileSize, `its section ${name}`);
    return {
      name,
      virtualAddress: r.u32(at + 12),
      virtualSize,
      fileOffset,
      fileSize,
      characteristics: r.u32(at + 36),
      // Linkers of object files leave it at 0.
      data: virtualSize === 0 ? raw : raw.subarray(0, virtualSize),
    };
  });
}
