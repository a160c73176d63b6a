/** What kexec_load takes: struct kexec_segment of include/uapi/linux/kexec.h, with a name for people. */

/** The page size of x86-64; segments begin and end on its multiples. */
export const pageSize = 4096;

/** KEXEC_SEGMENT_MAX of include/linux/kexec.h: the kernel takes no more segments than this. */
export const segmentLimit = 16;

/** The end of what a processor of 32 bits, or one in protected mode, can address. */
export const fourGiB = 1n << 32n;

export interface Segment {
  /** What it is: `kernel`, `initrd`, `boot_params`, `purgatory`, `module disk.img`. */
  name: string;
  /** Physical address at which it lies when the next kernel starts; a multiple of the page size. */
  address: bigint;
  /** Its bytes; what is left of its memory is zeroed. */
  data: Uint8Array;
  /** The memory that it takes, a multiple of the page size and not less than its bytes. */
  memoryBytes: number;
}

/** Everything that lies in memory at the jump, and where it goes on. */
export interface SegmentLayout {
  /** Ordered by address; no two overlap. */
  segments: readonly Segment[];
  /** Where the jump goes: into the purgatory. */
  entry: bigint;
  /** Where the purgatory goes on: the next kernel's first instruction. */
  kernelEntry: bigint;
  /** What the administrator should know about it, in full sentences. */
  notes: readonly string[];
}
