/** Reading a live patch's `.ko` before the kernel is asked to take it. */
import { RekernelError } from "../../core/errors.ts";
import { compressionOf, decompress } from "../../formats/compression.ts";
import { readInputFile } from "../../kernel/input-file.ts";
import { KernelModuleFile } from "../../kernel/module.ts";

/** What a live patch module says about itself. */
export interface PatchFile {
  path: string;
  /** As the kernel will call it, with underscores. */
  name: string;
  /** The kernel release it was built for: the first word of vermagic. */
  release: string;
  /** Digest over the sources that modpost writes, where there is one. */
  sourceVersion: string | undefined;
  /** True when the bytes on disk are the module itself, not a compressed form of it. */
  isPlain: boolean;
  /** The module, uncompressed. */
  bytes: Uint8Array;
}

/**
 * Opens a file, plain or compressed, and makes sure that it is a live patch for x86-64.
 *
 * @throws RekernelError RK-FILE, RK-BAD-ELF, RK-BAD-MODULE, RK-BAD-COMPRESSION (1) for what is no kernel module;
 *   RK-NOT-LIVEPATCH (4) for a module that is no live patch; RK-PERMISSION (5)
 */
export async function readPatchFile(path: string): Promise<PatchFile> {
  const packed = await readInputFile(path, "live patch");
  const isPlain = compressionOf(packed) === "none";
  const bytes = isPlain ? packed : decompress(packed, { name: path });
  const module = KernelModuleFile.fromBytes(bytes, path);
  if (module.modinfo.get("livepatch")?.[0] !== "Y")
    throw new RekernelError(
      "refused",
      "RK-NOT-LIVEPATCH",
      `${path} is a kernel module, but not a live patch: its modinfo has no livepatch=Y.`,
      { hint: "Load ordinary modules with modprobe or insmod." },
    );
  return {
    path,
    name: module.name,
    release: module.vermagic.split(" ")[0] ?? "",
    sourceVersion: module.modinfo.get("srcversion")?.[0],
    isPlain,
    bytes,
  };
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
    { hint: `Build it for the running kernel: rekernel patch build --kernel ${running} FIX.patch` },
  );
}
