/**
 * Where things stand in struct boot_params, the page of facts that every x86 kernel starts with.
 *
 * Source: Documentation/arch/x86/zero-page.rst; arch/x86/include/uapi/asm/bootparam.h, setup_data.h;
 * include/uapi/linux/screen_info.h, edd.h; arch/x86/include/asm/efi.h (struct efi_setup_data).
 */

export const bootParamsBytes = 4096;

/** Offsets in the page; `header` fields as named in boot.rst. */
export const field = {
  screenInfo: 0x000,
  screenExtMemK: 0x002,
  acpiRsdp: 0x070,
  extRamdiskImage: 0x0c0,
  extRamdiskSize: 0x0c4,
  extCmdLinePtr: 0x0c8,
  edid: 0x140,
  efiSignature: 0x1c0,
  efiSystab: 0x1c4,
  efiMemdescSize: 0x1c8,
  efiMemdescVersion: 0x1cc,
  efiMemmap: 0x1d0,
  efiMemmapSize: 0x1d4,
  efiSystabHigh: 0x1d8,
  efiMemmapHigh: 0x1dc,
  altMemK: 0x1e0,
  e820Entries: 0x1e8,
  eddEntries: 0x1e9,
  mbrSignatureEntries: 0x1ea,
  secureBoot: 0x1ec,
  header: 0x1f1,
  bootFlag: 0x1fe,
  headerMagic: 0x202,
  version: 0x206,
  typeOfLoader: 0x210,
  loadflags: 0x211,
  code32Start: 0x214,
  ramdiskImage: 0x218,
  ramdiskSize: 0x21c,
  cmdLinePtr: 0x228,
  hardwareSubarch: 0x23c,
  setupData: 0x250,
  headerEnd: 0x290,
  mbrSignatures: 0x290,
  e820: 0x2d0,
  edd: 0xd00,
} as const;

export const screenInfoBytes = 64;
export const edidBytes = 128;
export const e820EntryBytes = 20;
/** E820_MAX_ENTRIES_ZEROPAGE: the rest goes through SETUP_E820_EXT. */
export const e820EntriesInPage = 128;
export const eddEntryBytes = 82;
export const maxEddEntries = 6;
export const maxMbrSignatures = 16;

/** efi_memory_desc_t, version 1. */
export const efiDescriptorBytes = 40;
/** EFI64_LOADER_SIGNATURE "EL64" as a little-endian number. */
export const efi64Signature = 0x34364c45;

/** Types of struct setup_data. */
export const setupDataType = { e820Ext: 1, dtb: 2, efi: 4, rngSeed: 9 } as const;
/** next, type, len */
export const setupDataHeaderBytes = 16;

/** loadflags: the protected-mode code lies at 1 MiB or above. */
export const LOADED_HIGH = 0x01;
/** loadflags: the kernel proper was moved (KASLR_FLAG), which it goes by (kaslr_enabled). */
export const KASLR_FLAG = 0x02;
