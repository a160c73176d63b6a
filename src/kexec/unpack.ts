/**
 * Doing before the jump, while the old kernel serves, what the next one would do after it: unpacking itself
 * and its initrd.
 */
import { RekernelError } from "../core/errors.ts";
import type { BzImage } from "../formats/bzimage.ts";
import { unpackInitramfs } from "../formats/initramfs-unpack.ts";
import { loadedImageObstacle } from "../host/loaded-image.ts";
import { readMemoryInfo } from "../host/memory.ts";
import { type HostPaths, thisHost } from "../host/paths.ts";
import { readProcessor } from "../host/processor.ts";
import { mustUnpackItself } from "./loaders/self-unpacking.ts";
import type { DigestKind } from "./purgatory/request.ts";

/** Whether it may be done, as far as that can be told without doing it. */
export interface UnpackQuestion {
  /** False: it was asked for. */
  wanted: boolean;
  image: BzImage | undefined;
  entry32Bit: boolean;
  commandLine: string;
  runningCommandLine: string;
  /** The plan is for another machine. */
  givenMap: boolean;
}

/** @returns why a kernel is left to unpack itself, as the end of a sentence; undefined where it need not */
export async function unpackObstacle(
  { wanted, image, entry32Bit, commandLine, runningCommandLine, givenMap }: UnpackQuestion,
  host: HostPaths = thisHost,
): Promise<string | undefined> {
  if (image === undefined) return "it is not packed";
  if (!wanted) return "that was asked for";
  if (entry32Bit) return "it is entered in 32-bit mode";
  const processor = givenMap ? { fiveLevelPaging: false, confidential: false } : await readProcessor(host);
  return mustUnpackItself(image.header, commandLine, processor, runningCommandLine);
}

/** What an image that cannot be unpacked, or has no room unpacked, is refused with. */
const unpackingFailures = new Set([
  "RK-BAD-COMPRESSION",
  "RK-UNSUPPORTED-COMPRESSION",
  "RK-BAD-IMAGE",
  "RK-BAD-ELF",
  "RK-KEXEC-NO-ROOM",
]);

/** Whether the image may still be started packed. */
export function isUnpackingFailure(error: unknown): error is RekernelError {
  return error instanceof RekernelError && unpackingFailures.has(error.code);
}

/**
 * How the purgatory has to verify: by SHA-256, or by a sum where SHA-256 can be taken before the jump.
 *
 * @param wish of the user
 */
export async function chooseDigest(
  wish: DigestKind | undefined,
  givenMap: boolean,
  host: HostPaths = thisHost,
): Promise<{ digest: DigestKind; reason: string }> {
  if (wish !== undefined) return { digest: wish, reason: "It was asked for." };
  const obstacle = givenMap ? "this is not the machine" : await loadedImageObstacle(host);
  return obstacle === undefined
    ? {
        digest: "sum",
        reason:
          "SHA-256 is taken right before the jump, by reading the loaded image back; the purgatory only takes a sum.",
      }
    : {
        digest: "sha256",
        reason: `The purgatory takes it, for the loaded image cannot be read back before the jump: ${obstacle}.`,
      };
}

export interface UnpackedInitrd {
  data: Uint8Array[];
  /** Anything of it was packed. */
  decompressed: boolean;
  /** In full sentences. */
  notes: string[];
}

/**
 * Unpacks an initrd as far as memory allows: what is unpacked lies in memory three times while the next
 * kernel starts or this one is loaded, and kexec_load lends half of the RAM to all segments.
 *
 * @param initrd its parts, one behind the other
 * @param otherBytes of the other segments
 */
export async function unpackInitrd(
  initrd: readonly Uint8Array[],
  otherBytes: number,
  host: HostPaths = thisHost,
): Promise<UnpackedInitrd> {
  const whole = initrd.length === 1 ? initrd[0]! : Buffer.concat(initrd);
  const memory = await readMemoryInfo(host);
  const [total = 0, available = 0] = [memory.get("MemTotal"), memory.get("MemAvailable")];
  const limit = Math.min(total / 3, available / 3, total / 2 - otherBytes - (32 << 20)) - whole.length;
  const { chunks, unpacked, kept } = unpackInitramfs(whole, Math.max(0, Math.floor(limit)));
  if (unpacked.length === 0 && kept === undefined)
    return { data: [...initrd], decompressed: false, notes: [] };
  return {
    data: unpacked.length === 0 ? [...initrd] : [...chunks],
    decompressed: unpacked.length > 0,
    notes:
      kept === undefined
        ? []
        : [`The initrd is ${unpacked.length === 0 ? "left" : "in part left"} packed: ${kept}.`],
  };
}
