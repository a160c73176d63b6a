/** Which kind of kernel an image is, and what makes segments of it. */
import { RekernelError } from "../../core/errors.ts";
import { badImage, isBzImage } from "../../formats/bzimage.ts";
import { isElf } from "../../kernel/architecture.ts";
import type { Loader } from "./loader.ts";

/**
 * `vmlinux`: a 64-bit ELF kernel for the Linux boot protocol; `elf32`: a 32-bit one; `multiboot`, `multiboot2`:
 * by the header of that protocol, whatever the file's format.
 */
export type ImageKind = "bzimage" | "vmlinux" | "multiboot2" | "multiboot" | "elf32";

export const kindNames: Readonly<Record<ImageKind, string>> = {
  bzimage: "bzImage",
  vmlinux: "vmlinux (ELF)",
  multiboot2: "multiboot 2",
  multiboot: "multiboot",
  elf32: "ELF, 32 bits",
};

const loaders: Readonly<Partial<Record<ImageKind, () => Promise<Loader>>>> = {
  bzimage: async () => (await import("./bzimage.ts")).loadBzImage,
  vmlinux: async () => (await import("./vmlinux.ts")).loadVmlinux,
};

/**
 * @param name of the image, for messages
 * @throws RekernelError RK-BAD-IMAGE (1)
 */
export function imageKind(kernel: Uint8Array, name: string): ImageKind {
  if (isBzImage(kernel)) return "bzimage";
  if (hasHeader(kernel, 0xe85250d6, 32768, 8, 4)) return "multiboot2";
  if (hasHeader(kernel, 0x1badb002, 8192, 4, 3)) return "multiboot";
  if (isElf(kernel)) return kernel[4] === 1 ? "elf32" : "vmlinux";
  throw badImage(name, "it is no kernel that kexec could start: no bzImage, ELF file or multiboot image");
}

/** The loader for kexec_load. */
export async function loaderFor(kind: ImageKind, name: string): Promise<Loader> {
  const load = loaders[kind];
  if (load !== undefined) return load();
  throw new RekernelError(
    "refused",
    "RK-KEXEC-KIND",
    `${name} is a ${kindNames[kind]} image, which rekernel cannot start by kexec_load yet.`,
    { hint: "For Linux use the vmlinuz (bzImage) of the same kernel." },
  );
}

/**
 * A multiboot header: its magic number at a multiple of `align` within the first bytes, in words that add up
 * to 0 (Multiboot 0.6.96 and Multiboot 2.0, section "OS image format").
 */
function hasHeader(bytes: Uint8Array, magic: number, within: number, align: number, words: number): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = Math.min(bytes.length, within) - words * 4;
  for (let at = 0; at <= end; at += align) {
    if (view.getUint32(at, true) !== magic) continue;
    let sum = 0;
    for (let word = 0; word < words; word++) sum = (sum + view.getUint32(at + word * 4, true)) >>> 0;
    if (sum === 0) return true;
  }
  return false;
}
