/** Which kind of kernel an image is, and what makes segments of it. */
import { badImage, isBzImage } from "../../formats/bzimage.ts";
import { isMultiboot1 } from "../../formats/multiboot/header-1.ts";
import { isMultiboot2 } from "../../formats/multiboot/header-2.ts";
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

const loaders: Readonly<Record<ImageKind, () => Promise<Loader>>> = {
  bzimage: async () => (await import("./bzimage.ts")).loadBzImage,
  vmlinux: async () => (await import("./vmlinux.ts")).loadVmlinux,
  multiboot: async () => (await import("./multiboot.ts")).loadMultiboot,
  multiboot2: async () => (await import("./multiboot2.ts")).loadMultiboot2,
  elf32: async () => (await import("./elf32.ts")).loadElf32,
};

/**
 * @param name of the image, for messages
 * @throws RekernelError RK-BAD-IMAGE (1)
 */
export function imageKind(kernel: Uint8Array, name: string): ImageKind {
  if (isBzImage(kernel)) return "bzimage";
  if (isMultiboot2(kernel)) return "multiboot2";
  if (isMultiboot1(kernel)) return "multiboot";
  if (isElf(kernel)) return kernel[4] === 1 ? "elf32" : "vmlinux";
  throw badImage(name, "it is no kernel that kexec could start: no bzImage, ELF file or multiboot image");
}

/** The loader for kexec_load. */
export function loaderFor(kind: ImageKind): Promise<Loader> {
  return loaders[kind]();
}
