/** gzip members one behind the other, and where they end. Source: RFC 1952, section 2.3. */
import { crc32, inflateRawSync, type ZlibOptions } from "node:zlib";
import type { Fail, UnpackedStream } from "./lzma.ts";

const headerBytes = 10;
const trailerBytes = 8;
const FHCRC = 2;
const FEXTRA = 4;
const FNAME = 8;
const FCOMMENT = 16;

/** With `info` Node returns its engine as well, which counted the bytes that it took; its types do not say so. */
const inflate = inflateRawSync as unknown as (
  data: Uint8Array,
  options: ZlibOptions,
) => { buffer: Uint8Array; engine: { bytesWritten: number } };

/**
 * Unpacks the first member, and those right behind it. Their checksums are verified.
 *
 * @param fail makes an error of a reason
 * @throws what `fail` makes; Node's errors of inflating
 */
export function unpackGzip(bytes: Uint8Array, limit: number, fail: Fail): UnpackedStream {
  const members: Uint8Array[] = [];
  let total = 0;
  let end = 0;
  do {
    const start = end + headerEnd(bytes.subarray(end), fail);
    const options = { maxOutputLength: Math.max(1, limit - total), chunkSize: 1 << 20, info: true };
    const { buffer, engine } = inflate(bytes.subarray(start), options);
    const trailer = start + engine.bytesWritten;
    end = trailer + trailerBytes;
    if (end > bytes.length) throw fail("it ends too early");
    const view = new DataView(bytes.buffer, bytes.byteOffset + trailer, trailerBytes);
    if (view.getUint32(0, true) !== crc32(buffer) || view.getUint32(4, true) !== buffer.length % 2 ** 32)
      throw fail("its contents do not match their checksum");
    members.push(buffer);
    total += buffer.length;
  } while (bytes[end] === 0x1f && bytes[end + 1] === 0x8b);
  return { data: members.length === 1 ? members[0]! : Buffer.concat(members), end };
}

function headerEnd(bytes: Uint8Array, fail: Fail): number {
  if (bytes.length < headerBytes || bytes[0] !== 0x1f || bytes[1] !== 0x8b || bytes[2] !== 8)
    throw fail("it has no gzip header");
  const flags = bytes[3]!;
  let at = headerBytes;
  if (flags & FEXTRA) at += 2 + ((bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8));
  for (const text of [FNAME, FCOMMENT])
    if (flags & text) {
      const nul = bytes.indexOf(0, at);
      if (nul < 0) throw fail("it ends too early");
      at = nul + 1;
    }
  if (flags & FHCRC) at += 2;
  if (at > bytes.length) throw fail("it ends too early");
  return at;
}
