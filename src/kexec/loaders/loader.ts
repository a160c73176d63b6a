/** What every loader gets: a function from an image of its kind to the segments of the jump. */
import type { MemoryRange } from "../../formats/memory-map.ts";
import type { DigestKind } from "../purgatory/request.ts";
import type { SegmentLayout } from "../segments/segment.ts";

export interface LoaderInput<Firmware> {
  /** The image, unpacked. */
  kernel: Uint8Array;
  /** What it is called in messages. */
  kernelName: string;
  /** The parts of the initrd, one behind the other; empty without one. */
  initrd: readonly Uint8Array[];
  /** Files for the kernel besides, each with its own command line (multiboot). */
  modules: readonly { name: string; commandLine: string; data: Uint8Array }[];
  commandLine: string;
  /** Ordered by address, without overlaps: what the firmware said, less what the running kernel keeps. */
  memory: readonly MemoryRange[];
  firmware: Firmware;
  digest: DigestKind;
  serialPort: number | undefined;
  /** A number from 0 to before `limit`, not to be guessed: for KASLR. */
  random(limit: number): number;
}

export type Loader<Firmware> = (input: LoaderInput<Firmware>) => SegmentLayout;
