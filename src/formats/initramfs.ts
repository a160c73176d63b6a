/**
 * What the kernel makes of an initrd: archives one behind the other, each in the "newc" format of cpio or packed.
 *
 * Source: init/initramfs.c (unpack_to_rootfs, do_header); Documentation/driver-api/early-userspace/buffer-format.rst.
 */
import { compressionOf } from "./compression.ts";
import { type ReadBytes, zstdFrameEnd } from "./zstd-frame.ts";

const headerBytes = 110;
/** Archives with more members are believed: the walk is a courtesy, not a proof. */
const memberLimit = 200_000;
const trailer = "TRAILER!!!";

/**
 * What is wrong with an initrd, as far as its outside tells: nothing is unpacked here.
 *
 * @returns the rest of a sentence that begins with its name: `ends within init`; undefined for one without a
 *   visible defect
 */
export function initramfsDefect(size: number, read: ReadBytes): string | undefined {
  let at = 0;
  for (let members = 0; members < memberLimit; members++) {
    at = nextStart(at, size, read);
    if (at >= size) return undefined;
    const start = read(at, 6);
    const packing = compressionOf(start);
    if (packing === "xz") return endsLikeXz(size, read) ? undefined : "is cut off: its xz archive has no end";
    if (packing === "zstd") {
      const end = zstdFrameEnd(at, size, read);
      if (end === undefined) return "is cut off: its zstd archive has no end";
      at = end;
      continue;
    }
    if (packing !== "none") return undefined;
    const magic = Buffer.from(start).toString("latin1");
    if (magic === "070707")
      return "is a cpio archive of the old format: the kernel takes newc only (cpio -H newc)";
    if ((magic !== "070701" && magic !== "070702") || at % 4 !== 0)
      return at === 0
        ? "begins with neither a cpio archive nor a packed one: the next kernel will not unpack it"
        : `has something behind its first ${at} bytes that is neither a cpio archive nor a packed one`;
    const member = readMember(at, size, read);
    if (typeof member === "string") return member;
    at = member.end;
  }
  return undefined;
}

/** Archives are filled up with NULs, and a plain one begins at a multiple of 4. */
function nextStart(from: number, size: number, read: ReadBytes): number {
  for (let at = from; at < size; ) {
    const chunk = read(at, Math.min(4096, size - at));
    const found = chunk.findIndex((byte) => byte !== 0);
    if (found >= 0) return at + found;
    if (chunk.length === 0) break;
    at += chunk.length;
  }
  return size;
}

/** The last archive's footer ends with "YZ", but for NULs that boot loaders want behind it. */
function endsLikeXz(size: number, read: ReadBytes): boolean {
  const end = Buffer.from(read(Math.max(0, size - 64), Math.min(64, size))).toString("latin1");
  return end.replace(/\0+$/, "").endsWith("YZ");
}

function readMember(at: number, size: number, read: ReadBytes): { end: number } | string {
  if (at + headerBytes > size) return "is cut off: it ends within the header of a file";
  const text = Buffer.from(read(at, headerBytes)).toString("latin1");
  if (!/^[0-9a-f]*$/i.test(text)) return `is damaged: the header of a file at byte ${at} is none`;
  const field = (index: number) => Number.parseInt(text.slice(6 + index * 8, 14 + index * 8), 16);
  const [fileBytes, nameBytes] = [field(6), field(11)];
  const dataAt = aligned(at + headerBytes + nameBytes);
  const name = Buffer.from(read(at + headerBytes, Math.min(nameBytes, 4096)))
    .toString()
    .replace(/\0.*$/s, "");
  if (name === trailer) return { end: dataAt };
  const end = dataAt + fileBytes;
  // The padding behind the very last file may be missing.
  if (end > size) return `is cut off: it ends within ${name || "a file"}`;
  return { end: aligned(end) };
}

function aligned(offset: number): number {
  return Math.ceil(offset / 4) * 4;
}
