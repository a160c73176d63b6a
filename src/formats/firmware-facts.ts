/** What the firmware left for every kernel after the first, as the running kernel passes it on. */

/** A range that the firmware's run-time code and data keep: efi_memory_desc_t of include/linux/efi.h. */
export interface EfiMemoryDescriptor {
  /** EFI_… memory type of the UEFI specification, section 7.2. */
  type: number;
  physicalAddress: bigint;
  /** Where the running kernel mapped it; the next one has to map it there again. */
  virtualAddress: bigint;
  pages: bigint;
  attribute: bigint;
}

/** EFI firmware whose run-time services the running kernel uses. */
export interface EfiFacts {
  /** Physical address of the system table. */
  systemTable: bigint;
  /** Addresses in the system table before SetVirtualAddressMap changed it (struct efi_setup_data). */
  firmwareVendor: bigint;
  runtime: bigint;
  configurationTable: bigint;
  smbios: bigint;
  runtimeMap: readonly EfiMemoryDescriptor[];
}

/** Bytes are copies, as they stand in struct boot_params. */
export interface FirmwareFacts {
  efi: EfiFacts | undefined;
  /** Physical address of ACPI's root pointer; undefined where the next kernel has to look for it. */
  acpiRsdp: bigint | undefined;
  /** A copy of that pointer (20 bytes, since ACPI 2.0 36), for kernels that are told no address. */
  acpiRsdpTable: Uint8Array | undefined;
  /** secure_boot of boot_params (enum efi_secureboot_mode); 0 where it is not known. */
  secureBoot: number;
  /** hdr.hardware_subarch; 0 is a PC. */
  hardwareSubarch: number;
  /** screen_info (64 bytes) and edid_info (128) where the console is still what the firmware set up. */
  screen: { info: Uint8Array; edid: Uint8Array } | undefined;
  /** BIOS disks: eddbuf's entries of 82 bytes and the MBR signatures. */
  edd: { entries: Uint8Array; mbrSignatures: readonly number[] } | undefined;
  /** What is not passed on and what follows from that, in full sentences. */
  notes: readonly string[];
}

/** Of a machine of which nothing is known but its memory. */
export const noFirmwareFacts: FirmwareFacts = {
  efi: undefined,
  acpiRsdp: undefined,
  acpiRsdpTable: undefined,
  secureBoot: 0,
  hardwareSubarch: 0,
  screen: undefined,
  edd: undefined,
  notes: [],
};
