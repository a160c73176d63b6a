/** What a boot loader told a kernel: the page of boot_params, and what it points to. */

import { RekernelError } from "../../core/errors.ts";
import { ByteReader, cString } from "../bytes.ts";
import { e820Types, type MemoryKind, type MemoryRange } from "../memory-map.ts";
import {
  bootParamsBytes,
  e820EntriesInPage,
  e820EntryBytes,
  eddEntryBytes,
  edidBytes,
  efi64Signature,
  field,
  maxEddEntries,
  maxMbrSignatures,
  screenInfoBytes,
  setupDataHeaderBytes,
} from "./fields.ts";

/** Addresses are physical; 0 where the boot loader gave none. */
export interface BootParamsPage {
  typeOfLoader: number;
  loadflags: number;
  code32Start: number;
  /** Boot protocol, as major * 256 + minor. */
  protocol: number;
  commandLineAddress: bigint;
  initrd: { address: bigint; bytes: bigint };
  setupData: bigint;
  acpiRsdp: bigint;
  secureBoot: number;
  hardwareSubarch: number;
  /** Undefined without 64-bit EFI firmware. */
  efi: { systemTable: bigint; map: bigint; mapBytes: number; descriptorBytes: number } | undefined;
  /** struct screen_info and struct edid_info; copies. */
  screen: { info: Uint8Array; edid: Uint8Array };
  edd: { entries: Uint8Array; mbrSignatures: number[] };
  /** What of the e820 table stands in the page, as it stands there. */
  memory: MemoryRange[];
}

const kindsByType: ReadonlyMap<number, MemoryKind> = new Map(
  Object.entries(e820Types).map(([kind, type]) => [type, kind as MemoryKind]),
);

/**
 * Reads boot_params, such as /sys/kernel/boot_params/data.
 *
 * @throws RekernelError RK-BAD-BOOT-PARAMS (1) when it ends early
 */
export function readBootParams(bytes: Uint8Array): BootParamsPage {
  const r = reader(bytes);
  r.slice(0, bootParamsBytes, "the page");
  const joined = (low: number, high: number) => (BigInt(r.u32(high)) << 32n) | BigInt(r.u32(low));
  const eddEntries = Math.min(r.u8(field.eddEntries), maxEddEntries);
  const signatures = Math.min(r.u8(field.mbrSignatureEntries), maxMbrSignatures);
  const entries = Math.min(r.u8(field.e820Entries), e820EntriesInPage);
  return {
    typeOfLoader: r.u8(field.typeOfLoader),
    loadflags: r.u8(field.loadflags),
    code32Start: r.u32(field.code32Start),
    protocol: r.u16(field.version),
    commandLineAddress: joined(field.cmdLinePtr, field.extCmdLinePtr),
    initrd: {
      address: joined(field.ramdiskImage, field.extRamdiskImage),
      bytes: joined(field.ramdiskSize, field.extRamdiskSize),
    },
    setupData: r.u64(field.setupData),
    acpiRsdp: r.u64(field.acpiRsdp),
    secureBoot: r.u8(field.secureBoot),
    hardwareSubarch: r.u32(field.hardwareSubarch),
    efi:
      r.u32(field.efiSignature) === efi64Signature
        ? {
            systemTable: joined(field.efiSystab, field.efiSystabHigh),
            map: joined(field.efiMemmap, field.efiMemmapHigh),
            mapBytes: r.u32(field.efiMemmapSize),
            descriptorBytes: r.u32(field.efiMemdescSize),
          }
        : undefined,
    screen: {
      info: new Uint8Array(r.slice(field.screenInfo, screenInfoBytes)),
      edid: new Uint8Array(r.slice(field.edid, edidBytes)),
    },
    edd: {
      entries: new Uint8Array(r.slice(field.edd, eddEntries * eddEntryBytes)),
      mbrSignatures: Array.from({ length: signatures }, (_, index) => r.u32(field.mbrSignatures + index * 4)),
    },
    memory: readE820(r.slice(field.e820, entries * e820EntryBytes)),
  };
}

/** Entries of 20 bytes; a type without a name is reserved memory. What would go beyond 64 bits is cut off there. */
export function readE820(bytes: Uint8Array): MemoryRange[] {
  const r = reader(bytes);
  const ranges: MemoryRange[] = [];
  for (let at = 0; at + e820EntryBytes <= bytes.length; at += e820EntryBytes) {
    const start = r.u64(at);
    const end = start + r.u64(at + 8);
    const kind = kindsByType.get(r.u32(at + 16)) ?? "reserved";
    ranges.push({ start, end: end > 1n << 64n ? 1n << 64n : end, kind });
  }
  return ranges;
}

/**
 * The chain of struct setup_data within a block of memory.
 *
 * @param address physical address of the block
 * @throws RekernelError RK-BAD-BOOT-PARAMS (1) for a chain that leaves the block or runs in a circle
 */
export function readSetupData(
  block: Uint8Array,
  address: bigint,
  first: bigint,
): { type: number; data: Uint8Array }[] {
  const r = reader(block);
  const found: { type: number; data: Uint8Array }[] = [];
  const seen = new Set<bigint>();
  for (let at = first; at !== 0n; at = r.u64(Number(at - address))) {
    if (seen.has(at)) throw badBootParams("its setup_data runs in a circle");
    seen.add(at);
    if (at < address || at - address > BigInt(block.length))
      throw badBootParams("its setup_data leaves the memory it is in");
    const offset = Number(at - address);
    found.push({
      type: r.u32(offset + 8),
      data: r.slice(offset + setupDataHeaderBytes, r.u32(offset + 12), "setup_data"),
    });
  }
  return found;
}

/** The command line that lies in the same block as boot_params. */
export function readCommandLine(block: Uint8Array, address: bigint, page: BootParamsPage): string {
  const offset = page.commandLineAddress - address;
  return Buffer.from(
    cString(block, offset >= 0n && offset < BigInt(block.length) ? Number(offset) : -1),
    "latin1",
  ).toString("utf8");
}

function reader(bytes: Uint8Array): ByteReader {
  return new ByteReader(bytes, badBootParams);
}

function badBootParams(reason: string): RekernelError {
  return new RekernelError("failed", "RK-BAD-BOOT-PARAMS", `Cannot read boot_params: ${reason}.`, {
    hint: "It is 4096 bytes, as in /sys/kernel/boot_params/data.",
  });
}
