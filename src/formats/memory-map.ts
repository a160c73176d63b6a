/** What lies where in physical memory. */

/** What a range is to the next kernel; the kernel's e820 types (arch/x86/include/asm/e820/types.h). */
export type MemoryKind =
  | "ram"
  | "reserved"
  | "acpi"
  | "acpi-nvs"
  | "unusable"
  | "persistent"
  | "soft-reserved";

/** Addresses from `start` to before `end`. */
export interface MemoryRange {
  start: bigint;
  end: bigint;
  kind: MemoryKind;
}
