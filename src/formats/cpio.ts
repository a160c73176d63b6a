/**
 * cpio archives in the "newc" format, the one the kernel unpacks as initramfs
 * (Documentation/driver-api/early-userspace/buffer-format.rst, init/initramfs.c).
 */

/** One member. `path` is relative, without a leading slash; `mode` holds permission bits only. */
export type CpioEntry =
  | { kind: "directory"; path: string; mode?: number }
  | { kind: "file"; path: string; mode?: number; data: Uint8Array }
  | { kind: "symlink"; path: string; target: string }
  | { kind: "device"; path: string; mode?: number; type: "char" | "block"; major: number; minor: number };

const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;
const S_IFCHR = 0o020000;
const S_IFBLK = 0o060000;
const headerSize = 110;
const none = new Uint8Array(0);

/**
 * An archive of `entries` in their order, owned by root, with time stamps of 0: equal input, equal bytes.
 * Directories must come before what they hold: the kernel creates none by itself.
 *
 * @throws RangeError for a path or size that the format cannot hold
 */
export function cpioArchive(entries: Iterable<CpioEntry>): Uint8Array {
  const chunks: Uint8Array[] = [];
  let inode = 0;
  for (const entry of entries) chunks.push(...member(entry, ++inode));
  chunks.push(...encode("TRAILER!!!", 0, 0, none));
  return Buffer.concat(chunks);
}

function member(entry: CpioEntry, inode: number): Uint8Array[] {
  switch (entry.kind) {
    case "directory":
      return encode(entry.path, S_IFDIR | (entry.mode ?? 0o755), inode, none);
    case "file":
      return encode(entry.path, S_IFREG | (entry.mode ?? 0o644), inode, entry.data);
    case "symlink":
      return encode(entry.path, S_IFLNK | 0o777, inode, Buffer.from(entry.target));
    case "device": {
      const type = entry.type === "char" ? S_IFCHR : S_IFBLK;
      return encode(entry.path, type | (entry.mode ?? 0o600), inode, none, entry.major, entry.minor);
    }
  }
}

function encode(
  path: string,
  mode: number,
  inode: number,
  data: Uint8Array,
  major = 0,
  minor = 0,
): Uint8Array[] {
  const name = Buffer.from(path);
  // The kernel skips members with longer names without a word (N_ALIGN(name_len) > PATH_MAX).
  if (name.length === 0 || name.length >= 4096 || name.includes(0) || path.startsWith("/"))
    throw new RangeError(`not a path for a cpio archive: ${path}`);
  if (data.length > 0xffffffff) throw new RangeError(`too large for a cpio archive: ${path}`);
  const links = (mode & 0o170000) === S_IFDIR ? 2 : 1;
  // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
  const fields = [inode, mode, 0, 0, links, 0, data.length, 0, 0, major, minor, name.length + 1, 0];
  const header = `070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}`;
  return [
    Buffer.from(header, "latin1"),
    name,
    new Uint8Array(1 + padding(headerSize + name.length + 1)),
    data,
    new Uint8Array(padding(data.length)),
  ];
}

function padding(size: number): number {
  return (4 - (size % 4)) % 4;
}
