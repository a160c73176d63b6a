/** Unpacks whatever kernel images, modules and initial RAM disks are packed with, by magic number. */
import { zstdDecompressSync } from "node:zlib";
import { hasErrno, RekernelError } from "../core/errors.ts";
import { unpackGzip } from "./gzip.ts";
import { lz4LegacyMagic, unpackLz4Legacy } from "./lz4.ts";
import { decodeLzmaAlone, type UnpackedStream } from "./lzma.ts";
import { isXz, unpackXz } from "./xz.ts";
import { zstdFrameEnd } from "./zstd-frame.ts";

export type Compression = "none" | "gzip" | "xz" | "zstd" | "lz4" | "lzma" | "bzip2" | "lzo";

/** Bigger than any kernel image without debug information; hostile input cannot make us allocate more. */
const maxUnpackedBytes = 512 << 20;

export interface DecompressOptions {
  /** What the bytes are, for messages: a path, or "the payload of …". */
  name?: string;
  /** Where the container tells: reserves memory at once, and any other size is an error. */
  sizeBytes?: number;
  /** Refuses to unpack to more than this. Default 512 MiB. */
  limitBytes?: number;
}

/** What the first bytes say. The magic numbers are those of lib/decompress.c. */
export function compressionOf(bytes: Uint8Array): Compression {
  if (bytes.length < 6) return "none";
  const magic = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(0, true);
  if ((magic & 0xffff) === 0x8b1f || (magic & 0xffff) === 0x9e1f) return "gzip";
  if (magic === 0xfd2fb528) return "zstd";
  if (isXz(bytes)) return "xz";
  if (magic === lz4LegacyMagic) return "lz4";
  if ((magic & 0xffffff) === 0x5d) return "lzma";
  if ((magic & 0xffffff) === 0x685a42) return "bzip2";
  if (magic === 0x4f5a4c89) return "lzo";
  return "none";
}

/**
 * Unpacks gzip, xz (with or without the x86 filter), zstd, legacy lz4 and lzma; bytes that carry none of
 * these magic numbers are returned as they are.
 *
 * @throws RekernelError RK-BAD-COMPRESSION (1) for corrupt or oversized data,
 *   RK-UNSUPPORTED-COMPRESSION (1) for bzip2 and lzo
 */
export function decompress(bytes: Uint8Array, options: DecompressOptions = {}): Uint8Array {
  return decompressFirst(bytes, options).data;
}

/**
 * {@link decompress} of the first stream, and where it ends. Members of gzip and frames of zstd and lz4 that
 * follow each other without a gap count as one stream.
 */
export function decompressFirst(bytes: Uint8Array, options: DecompressOptions = {}): UnpackedStream {
  const kind = compressionOf(bytes);
  if (kind === "none") return { data: bytes, end: bytes.length };
  const name = options.name ?? "The data";
  const limit = Math.min(options.limitBytes ?? maxUnpackedBytes, maxUnpackedBytes);
  const fail = (reason: string, cause?: unknown) =>
    new RekernelError("failed", "RK-BAD-COMPRESSION", `Cannot unpack ${name} (${kind}): ${reason}.`, {
      hint: "The file is damaged or incomplete. Get it again from where it came.",
      cause,
    });
  if (options.sizeBytes !== undefined && options.sizeBytes > limit)
    throw fail(`it says that it unpacks to ${options.sizeBytes} bytes, more than the ${limit} possible`);
  // Enough for kernels and modules without trusting what a header claims.
  const expected = Math.min(options.sizeBytes ?? bytes.length * 6, bytes.length * 32 + (1 << 16));
  let unpacked: UnpackedStream;
  switch (kind) {
    case "xz":
      unpacked = unpackXz(bytes, expected, limit, fail);
      break;
    case "lz4":
      unpacked = unpackLz4Legacy(bytes, expected, limit, fail);
      break;
    case "lzma":
      unpacked = decodeLzmaAlone(bytes, limit, fail);
      break;
    case "gzip":
      unpacked = withNode(limit, fail, () => unpackGzip(bytes, limit, fail));
      break;
    case "zstd":
      unpacked = unpackZstd(bytes, limit, fail);
      break;
    default:
      throw new RekernelError(
        "failed",
        "RK-UNSUPPORTED-COMPRESSION",
        `${name} is packed with ${kind}, which rekernel does not unpack.`,
        { hint: "Supported are gzip, xz, zstd, lz4 and lzma. Unpack it first, and give the unpacked file." },
      );
  }
  if (options.sizeBytes !== undefined && unpacked.data.length !== options.sizeBytes)
    throw fail(`it unpacks to ${unpacked.data.length} bytes instead of ${options.sizeBytes}`);
  return unpacked;
}

function unpackZstd(bytes: Uint8Array, limit: number, fail: FailWith): UnpackedStream {
  const read = (offset: number, size: number) => bytes.subarray(offset, offset + size);
  let end = zstdFrameEnd(0, bytes.length, read);
  if (end === undefined) throw fail("it ends too early");
  for (let next: number | undefined = end; next !== undefined; next = zstdFrameEnd(end, bytes.length, read))
    end = next;
  const frames = bytes.subarray(0, end);
  return { data: withNode(limit, fail, (options) => zstdDecompressSync(frames, options)), end };
}

type FailWith = (reason: string, cause?: unknown) => RekernelError;

function withNode<T>(
  limit: number,
  fail: FailWith,
  unpack: (options: { maxOutputLength: number; chunkSize: number }) => T,
): T {
  try {
    return unpack({ maxOutputLength: limit, chunkSize: 1 << 20 });
  } catch (error) {
    if (error instanceof RekernelError) throw error;
    if (hasErrno(error) && error.code === "ERR_BUFFER_TOO_LARGE")
      throw fail(`it unpacks to more than ${limit} bytes`, error);
    throw fail(
      error instanceof Error ? error.message.replace(/\.$/, "").toLowerCase() : "unknown error",
      error,
    );
  }
}
