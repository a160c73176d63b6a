/** What every loader gets: a function from an image of its kind to the segments of the jump. */
import type { BzImage } from "../../formats/bzimage.ts";
import type { FirmwareFacts } from "../../formats/firmware-facts.ts";
import type { AddressRange, MemoryRange } from "../../formats/memory-map.ts";
import type { DigestKind } from "../purgatory/request.ts";
import type { SegmentLayout } from "../segments/segment.ts";

export interface LoaderInput {
  /** The image, unpacked. */
  kernel: Uint8Array;
  /** What it is called in messages. */
  kernelName: string;
  /** Of the file that it came in. */
  imagePath: string;
  /** Of the bzImage that a vmlinux was unpacked from: what it says about itself to boot loaders. */
  unpackedFrom?: Pick<BzImage, "header" | "setupHeader"> | undefined;
  /** The parts of the initrd, one behind the other; empty without one. */
  initrd: readonly Uint8Array[];
  /** Files for the kernel besides, each with its own command line (multiboot). */
  modules: readonly { name: string; commandLine: string; data: Uint8Array }[];
  commandLine: string;
  /** Enter the kernel by its 32-bit entry, where it has two. */
  entry32Bit: boolean;
  /** The running kernel uses 5-level paging, in which the purgatory starts: older kernels cannot be entered in it. */
  fiveLevelPaging: boolean;
  /** A flattened device tree for the kernel (.dtb of a unified kernel image). */
  deviceTree: Uint8Array | undefined;
  /** The map that the next kernel gets: ordered by address, without overlaps. */
  memory: readonly MemoryRange[];
  /** Where segments may lie: RAM less what the running kernel or something else claims. For LayoutBuilder. */
  room: readonly AddressRange[];
  firmware: FirmwareFacts;
  digest: DigestKind;
  /** Of the line on which the purgatory speaks; silent without one. */
  serialPort: number | undefined;
  /** 32 random bytes for the next kernel's generator (SETUP_RNG_SEED). */
  rngSeed: Uint8Array;
  /** A number from 0 to before `limit`, not to be guessed: for KASLR. */
  random(limit: number): number;
}

/**
 * @throws RekernelError RK-KEXEC-NO-ROOM, RK-BAD-IMAGE (1); RK-COMMAND-LINE-TOO-LONG, RK-IMAGE-TOO-OLD (4);
 *   what a kind of image cannot be given is refused (4)
 */
export type Loader = (input: LoaderInput) => SegmentLayout;
