/** What the purgatory is to do: the code between the two kernels, which runs without either. */
import type { Segment } from "../segments/segment.ts";

/** The state in which the next kernel wants to be entered. */
export type Handover =
  /** 64-bit Linux boot protocol: long mode, RSI points to boot_params (Documentation/arch/x86/boot.rst). */
  | { kind: "linux-64"; entry: bigint; bootParams: bigint }
  /** 32-bit Linux boot protocol: protected mode, flat segments 0x10 and 0x18, ESI points to boot_params. */
  | { kind: "linux-32"; entry: number; bootParams: number }
  /** Multiboot 1 and 2: protected mode, flat segments, magic in EAX and the information's address in EBX. */
  | { kind: "multiboot"; entry: number; magic: number; information: number };

/**
 * How the purgatory makes sure that what lies in memory is what was loaded.
 * `sha256`: of every segment. `sum`: a sum of 64-bit words that is taken in a fraction of that time, for
 * segments whose SHA-256 was verified in the old kernel's memory right before the jump.
 */
export type DigestKind = "sha256" | "sum";

export interface PurgatoryRequest {
  handover: Handover;
  digest: DigestKind;
  /** What is verified: every segment but the purgatory itself. */
  segments: readonly Segment[];
  /** I/O port of a serial line to speak on, such as 0x3f8; silent without one. */
  serialPort?: number | undefined;
}
