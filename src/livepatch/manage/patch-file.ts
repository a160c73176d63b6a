/** Reading a live patch's `.ko` before the kernel is asked to take it. */
import { readFile, stat } from "node:fs/promises";
import { RekernelError } from "../../core/errors.ts";
import { compressionOf, decompress } from "../../formats/compression.ts";
import { EM_X86_64, ET_REL } from "../../formats/elf/constants.ts";
import { readElf } from "../../formats/elf/read.ts";

/** What a live patch module says about itself. */
export interface PatchFile {
  path: string;
  /** As the kernel will call it, with underscores. */
  name: string;
  /** The kernel release it was built for: the first word of vermagic. */
  release: string;
  vermagic: string;
  /** Digest over the sources that modpost writes, where there is one. */
  sourceVersion: string | undefined;
  /** True when the bytes on disk are the module itself, not a compressed form of it. */
  isPlain: boolean;
  /** The module, uncompressed. */
  bytes: Uint8Array;
}

/** Far above any module, far below what would exhaust this process. */
const maxModuleBytes = 256 << 20;

/**
 * Opens a file, plain or compressed, and makes sure that it is a live patch for x86-64.
 *
 * @throws RekernelError RK-BAD-ELF, RK-BAD-COMPRESSION (1) for what is not a kernel module;
 *   RK-NOT-LIVEPATCH (4) for a module that is none; RK-WRONG-ARCHITECTURE (4)
 */
export async function readPatchFile(path: string): Promise<PatchFile> {
  const { size } = await stat(path);
  if (size > maxModuleBytes)
    throw new RekernelError(
      "failed",
      "RK-BAD-ELF",
      `Cannot read ${path}: it is larger than any kernel module.`,
    );
  const packed = await readFile(path);
  const bytes = decompress(packed, { name: path, limitBytes: maxModuleBytes });
  const elf = readElf(bytes, path);
  const { type, machine } = elf.header;
  if (type !== ET_REL || machine !== EM_X86_64)
    throw new RekernelError(
      "refused",
      "RK-WRONG-ARCHITECTURE",
      `${path} is not a kernel module for x86-64 (ELF type ${type}, machine ${machine}).`,
    );
  const modinfo = parseModinfo(elf.section(".modinfo")?.data ?? new Uint8Array());
  const name = modinfo.get("name");
  if (name === undefined)
    throw new RekernelError(
      "failed",
      "RK-NOT-A-MODULE",
      `${path} is an object file, but not a kernel module.`,
      {
        hint: "Its .modinfo section has no name: give the linked .ko, not an .o.",
      },
    );
  if (modinfo.get("livepatch") !== "Y")
    throw new RekernelError(
      "refused",
      "RK-NOT-LIVEPATCH",
      `${path} is a kernel module, but not a live patch: its modinfo has no livepatch=Y.`,
      { hint: "Load ordinary modules with modprobe or insmod." },
    );
  const vermagic = modinfo.get("vermagic") ?? "";
  return {
    path,
    name: name.replaceAll("-", "_"),
    release: vermagic.split(" ")[0] ?? "",
    vermagic,
    sourceVersion: modinfo.get("srcversion"),
    isPlain: compressionOf(packed) === "none",
    bytes,
  };
}

/** `key=value` strings of a .modinfo section; of keys that come more than once, the first. */
function parseModinfo(section: Uint8Array): Map<string, string> {
  const modinfo = new Map<string, string>();
  for (const entry of Buffer.from(section).toString("latin1").split("\0")) {
    const at = entry.indexOf("=");
    const key = entry.slice(0, at);
    if (at > 0 && !modinfo.has(key)) modinfo.set(key, entry.slice(at + 1));
  }
  return modinfo;
}

/**
 * A live patch is made of one kernel's code: another release would be changed at the wrong places.
 * (With MODVERSIONS the kernel itself compares only the symbols' CRCs, not the release.)
 *
 * @throws RekernelError RK-WRONG-KERNEL (4)
 */
export function requireRelease(patch: Pick<PatchFile, "path" | "release">, running: string): void {
  if (patch.release === running) return;
  throw new RekernelError(
    "refused",
    "RK-WRONG-KERNEL",
    `${patch.path} is a live patch for kernel ${patch.release || "(unnamed)"}, but this machine runs ${running}.`,
    { hint: `Build it for the running kernel: rekernel patch build --release ${running} FIX.patch` },
  );
}
