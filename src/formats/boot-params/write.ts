/** boot_params for the next kernel, with all that it points to, as one block of bytes. */
import type { EfiFacts, FirmwareFacts } from "../firmware-facts.ts";
import { e820Types, type MemoryRange } from "../memory-map.ts";
import {
  bootParamsBytes,
  e820EntriesInPage,
  e820EntryBytes,
  eddEntryBytes,
  edidBytes,
  efi64Signature,
  efiDescriptorBytes,
  field,
  KASLR_FLAG,
  LOADED_HIGH,
  maxEddEntries,
  maxMbrSignatures,
  screenInfoBytes,
  setupDataHeaderBytes,
  setupDataType,
} from "./fields.ts";

export interface BootParams {
  /** Bytes from 0x1f1 of the image (`BzImage.setupHeader`); undefined for a vmlinux, which has none. */
  setupHeader: Uint8Array | undefined;
  /** Where the image's protected-mode code lies; 0 for a vmlinux. */
  code32Start: number;
  commandLine: string;
  initrd: { address: bigint; bytes: number } | undefined;
  /** Ordered, without overlaps. */
  memory: readonly MemoryRange[];
  firmware: FirmwareFacts;
  /** The next kernel takes EFI's facts from boot_params (XLF_EFI_KEXEC). */
  takesEfi: boolean;
  /** The kernel proper was moved by whoever loaded it. */
  kaslr: boolean;
  rngSeed: Uint8Array;
  deviceTree: Uint8Array | undefined;
}

/** What the running kernel's kexec_file_load writes, too: 0xD is "kexec" in boot.rst's list of boot loaders. */
const typeOfLoader = 0xd0;
/** For a vmlinux: the protocol that the fields here follow. */
const protocol = 0x020f;

/**
 * boot_params at the beginning of the block; behind it EFI's memory map, the chain of setup_data, and the
 * command line with its NUL.
 *
 * @param address physical address of the block; what lies in it does not change its size
 */
export function writeBootParams(params: BootParams, address: bigint): Uint8Array {
  const { firmware, memory, commandLine } = params;
  const efi = params.takesEfi ? firmware.efi : undefined;
  const efiMap = efi === undefined ? new Uint8Array(0) : efiMemoryMap(efi);
  const setup = setupDataOf(params, efi);
  const line = Buffer.from(`${commandLine}\0`);

  const efiMapAt = bootParamsBytes;
  const setupAt: number[] = [];
  let end = efiMapAt + efiMap.length;
  for (const { data } of setup) {
    end = Math.ceil(end / 16) * 16;
    setupAt.push(end);
    end += setupDataHeaderBytes + data.length;
  }
  const lineAt = end;
  const block = new Uint8Array(lineAt + line.length);
  const view = new DataView(block.buffer);
  const at = (offset: number) => address + BigInt(offset);

  writeHeader(block, params);
  splitAddress(view, at(lineAt), field.cmdLinePtr, field.extCmdLinePtr);
  if (params.initrd !== undefined) {
    splitAddress(view, params.initrd.address, field.ramdiskImage, field.extRamdiskImage);
    splitAddress(view, BigInt(params.initrd.bytes), field.ramdiskSize, field.extRamdiskSize);
  }
  writeMemory(block, memory);
  writeFirmware(block, firmware);
  if (efi !== undefined) writeEfiInfo(view, efi, at(efiMapAt), efiMap.length);
  block.set(efiMap, efiMapAt);
  for (const [index, { type, data }] of setup.entries()) {
    const offset = setupAt[index]!;
    const next = setupAt[index + 1];
    view.setBigUint64(offset, next === undefined ? 0n : at(next), true);
    view.setUint32(offset + 8, type, true);
    view.setUint32(offset + 12, data.length, true);
    block.set(data, offset + setupDataHeaderBytes);
  }
  view.setBigUint64(field.setupData, setupAt[0] === undefined ? 0n : at(setupAt[0]), true);
  block.set(line, lineAt);
  return block;
}

/** The set-up header: the image's own, with what a boot loader fills in. */
function writeHeader(block: Uint8Array, params: BootParams): void {
  const { setupHeader, kaslr, code32Start, firmware } = params;
  const view = new DataView(block.buffer);
  if (setupHeader === undefined) {
    view.setUint16(field.bootFlag, 0xaa55, true);
    block.set(Buffer.from("HdrS"), field.headerMagic);
    view.setUint16(field.version, protocol, true);
    block[field.loadflags] = LOADED_HIGH;
  } else block.set(setupHeader.subarray(0, field.headerEnd - field.header), field.header);
  block[field.typeOfLoader] = typeOfLoader;
  if (kaslr) block[field.loadflags]! |= KASLR_FLAG;
  view.setUint32(field.code32Start, code32Start, true);
  // What an image may carry here was meant for another boot loader.
  splitAddress(view, 0n, field.ramdiskImage, field.extRamdiskImage);
  splitAddress(view, 0n, field.ramdiskSize, field.extRamdiskSize);
  view.setUint32(field.hardwareSubarch, firmware.hardwareSubarch, true);
}

function writeMemory(block: Uint8Array, memory: readonly MemoryRange[]): void {
  const view = new DataView(block.buffer);
  const inPage = memory.slice(0, e820EntriesInPage);
  block.set(e820Table(inPage), field.e820);
  block[field.e820Entries] = inPage.length;
  // Only kernels without an e820 table look at these; kexec_file_load fills them in as well.
  const aboveFirst = memory.find(
    ({ start, end, kind }) => kind === "ram" && start <= 0x100000n && end > 0x100000n,
  );
  const kibibytes = aboveFirst === undefined ? 0n : (aboveFirst.end - 0x100000n) >> 10n;
  view.setUint32(field.altMemK, Number(kibibytes > 0xffffffffn ? 0xffffffffn : kibibytes), true);
  view.setUint16(field.screenExtMemK, Number(kibibytes > 0xfc00n ? 0xfc00n : kibibytes), true);
}

function writeFirmware(block: Uint8Array, firmware: FirmwareFacts): void {
  const view = new DataView(block.buffer);
  if (firmware.screen !== undefined) {
    const extMemK = view.getUint16(field.screenExtMemK, true);
    block.set(firmware.screen.info.subarray(0, screenInfoBytes), field.screenInfo);
    view.setUint16(field.screenExtMemK, extMemK, true);
    block.set(firmware.screen.edid.subarray(0, edidBytes), field.edid);
  }
  view.setBigUint64(field.acpiRsdp, firmware.acpiRsdp ?? 0n, true);
  block[field.secureBoot] = firmware.secureBoot;
  const { edd } = firmware;
  if (edd === undefined) return;
  const entries = Math.min(maxEddEntries, Math.floor(edd.entries.length / eddEntryBytes));
  block[field.eddEntries] = entries;
  block.set(edd.entries.subarray(0, entries * eddEntryBytes), field.edd);
  const signatures = edd.mbrSignatures.slice(0, maxMbrSignatures);
  block[field.mbrSignatureEntries] = signatures.length;
  for (const [index, signature] of signatures.entries())
    view.setUint32(field.mbrSignatures + index * 4, signature, true);
}

function writeEfiInfo(view: DataView, efi: EfiFacts, mapAddress: bigint, mapBytes: number): void {
  view.setUint32(field.efiSignature, efi64Signature, true);
  splitAddress(view, efi.systemTable, field.efiSystab, field.efiSystabHigh);
  view.setUint32(field.efiMemdescSize, efiDescriptorBytes, true);
  view.setUint32(field.efiMemdescVersion, 1, true);
  splitAddress(view, mapAddress, field.efiMemmap, field.efiMemmapHigh);
  view.setUint32(field.efiMemmapSize, mapBytes, true);
}

interface SetupData {
  type: number;
  data: Uint8Array;
}

function setupDataOf({ memory, rngSeed, deviceTree }: BootParams, efi: EfiFacts | undefined): SetupData[] {
  const rest = memory.slice(e820EntriesInPage);
  return [
    ...(efi === undefined ? [] : [{ type: setupDataType.efi, data: efiSetupData(efi) }]),
    ...(rest.length === 0 ? [] : [{ type: setupDataType.e820Ext, data: e820Table(rest) }]),
    ...(rngSeed.length === 0 ? [] : [{ type: setupDataType.rngSeed, data: rngSeed }]),
    ...(deviceTree === undefined ? [] : [{ type: setupDataType.dtb, data: deviceTree }]),
  ];
}

function e820Table(ranges: readonly MemoryRange[]): Uint8Array {
  const table = new Uint8Array(ranges.length * e820EntryBytes);
  const view = new DataView(table.buffer);
  for (const [index, { start, end, kind }] of ranges.entries()) {
    const at = index * e820EntryBytes;
    // The whole 64 bits as a size do not fit; no machine has them.
    const size = end - start;
    view.setBigUint64(at, start, true);
    view.setBigUint64(at + 8, size > 0xffffffffffffffffn ? 0xffffffffffffffffn : size, true);
    view.setUint32(at + 16, e820Types[kind], true);
  }
  return table;
}

/** struct efi_setup_data; `runtime` is read by kernels before 5.7 only. */
function efiSetupData({ firmwareVendor, runtime, configurationTable, smbios }: EfiFacts): Uint8Array {
  const data = new Uint8Array(12 * 8);
  const view = new DataView(data.buffer);
  for (const [index, value] of [firmwareVendor, runtime, configurationTable, smbios].entries())
    view.setBigUint64(index * 8, value, true);
  return data;
}

function efiMemoryMap({ runtimeMap }: EfiFacts): Uint8Array {
  const map = new Uint8Array(runtimeMap.length * efiDescriptorBytes);
  const view = new DataView(map.buffer);
  for (const [index, descriptor] of runtimeMap.entries()) {
    const at = index * efiDescriptorBytes;
    view.setUint32(at, descriptor.type, true);
    view.setBigUint64(at + 8, descriptor.physicalAddress, true);
    view.setBigUint64(at + 16, descriptor.virtualAddress, true);
    view.setBigUint64(at + 24, descriptor.pages, true);
    view.setBigUint64(at + 32, descriptor.attribute, true);
  }
  return map;
}

function splitAddress(view: DataView, value: bigint, low: number, high: number): void {
  view.setUint32(low, Number(value & 0xffffffffn), true);
  view.setUint32(high, Number(value >> 32n), true);
}
