/**
 * The purgatory: what runs between two kernels, with neither to help. The old kernel copies the segments to
 * their places and jumps into it, in long mode with an identity mapping; it compares the segments with the
 * digests that it was given and enters the next kernel in the state which that one wants. If a segment is not
 * what was loaded, it says so on the serial line and the screen, and resets the machine.
 *
 * The code is native/purgatory, position-independent; here its parameters are filled in.
 */
import { RekernelError } from "../../core/errors.ts";
import { pageSize, segmentLimit } from "../segments/segment.ts";
import { digestOf } from "./digests.ts";
import { imageBase64, imageMemoryBytes } from "./image.ts";
import type { DigestKind, Handover, PurgatoryRequest } from "./request.ts";

/** The memory that its segment takes, whole pages: its bytes, what starts as zeros, and its stack. */
export const purgatoryMemoryBytes = Math.ceil(imageMemoryBytes / pageSize) * pageSize;

/** Four gibibytes: what runs in protected mode without paging sees no more. */
const addressesOf32Bits = 1n << 32n;

/** The layout of struct parameters in native/purgatory/parameters.h. */
const parameters = {
  offset: 64,
  /** "RKTPURGT" */
  magic: 0x5447525550544b52n,
  version: 1,
  headerBytes: 48,
  regionBytes: 64,
  nameBytes: 16,
} as const;

const handoverNumber: Readonly<Record<Handover["kind"], number>> = {
  "linux-64": 0,
  "linux-32": 1,
  multiboot: 2,
};
const digestNumber: Readonly<Record<DigestKind, number>> = { sha256: 0, sum: 1 };

export interface Purgatory {
  data: Uint8Array;
  /** Where the kernel is to jump, from the beginning of `data`. */
  entryOffset: number;
}

/**
 * The address behind the last one that the purgatory may take for this kind of hand-over; undefined where it
 * may lie anywhere. It leaves long mode for the kinds of 32 bits, and goes on running where it lies.
 */
export function purgatoryLimit(kind: Handover["kind"]): bigint | undefined {
  return kind === "linux-64" ? undefined : addressesOf32Bits;
}

/**
 * The purgatory's bytes for one jump. They go to any page below {@link purgatoryLimit}, in a segment of
 * {@link purgatoryMemoryBytes}; the kernel zeroes what is behind them (kernel/kexec_core.c
 * kimage_load_normal_segment), which it counts on.
 *
 * Verified are the bytes of each segment, not the zeros behind them, and not the purgatory itself.
 *
 * @throws RekernelError RK-KEXEC-LAYOUT (1) for more segments than kexec_load takes
 * @throws RangeError for addresses that the kind of hand-over cannot hold: a layout that {@link purgatoryLimit}
 *   was not asked for
 */
export function buildPurgatory(request: PurgatoryRequest): Purgatory {
  const { handover, digest, serialPort = 0 } = request;
  const data = Uint8Array.from(Buffer.from(imageBase64, "base64"));
  const view = new DataView(data.buffer, parameters.offset);
  if (view.getBigUint64(0, true) !== parameters.magic || view.getUint32(8, true) !== parameters.version)
    throw new RangeError("the purgatory's image and its parameters do not fit together");
  const regions = request.segments.filter((segment) => segment.data.length > 0);
  if (regions.length > segmentLimit)
    throw new RekernelError(
      "failed",
      "RK-KEXEC-LAYOUT",
      `kexec_load would refuse this: ${regions.length} segments, and the kernel takes ${segmentLimit} at most.`,
      { hint: "Use an image with fewer parts, or fewer modules." },
    );
  if (!Number.isInteger(serialPort) || serialPort < 0 || serialPort > 0xfff8)
    throw new RangeError(`no serial port is at ${serialPort}`);

  const { entry, information } = addressesOf(handover);
  view.setUint32(12, handoverNumber[handover.kind], true);
  view.setBigUint64(16, entry, true);
  view.setBigUint64(24, information, true);
  view.setUint32(32, handover.kind === "multiboot" ? handover.magic : 0, true);
  view.setUint32(36, digestNumber[digest], true);
  view.setUint32(40, serialPort, true);
  view.setUint32(44, regions.length, true);
  for (const [index, segment] of regions.entries()) {
    const at = parameters.headerBytes + index * parameters.regionBytes;
    view.setBigUint64(at, segment.address, true);
    view.setBigUint64(at + 8, BigInt(segment.data.length), true);
    const bytes = parameters.offset + at + 16;
    data.set(nameBytes(segment.name), bytes);
    data.set(digestOf(digest, segment.data), bytes + parameters.nameBytes);
  }
  return { data, entryOffset: 0 };
}

function addressesOf(handover: Handover): { entry: bigint; information: bigint } {
  if (handover.kind === "linux-64") return { entry: handover.entry, information: handover.bootParams };
  const information = handover.kind === "linux-32" ? handover.bootParams : handover.information;
  for (const address of [handover.entry, information])
    if (!Number.isInteger(address) || address < 0 || BigInt(address) >= addressesOf32Bits)
      throw new RangeError(`address 0x${address.toString(16)} does not fit 32 bits`);
  return { entry: BigInt(handover.entry), information: BigInt(information) };
}

/** For messages on a serial line: printable ASCII, with room for the NUL. */
function nameBytes(name: string): Uint8Array {
  return Buffer.from(name.replaceAll(/[^ -~]/g, "?").slice(0, parameters.nameBytes - 1), "latin1");
}
