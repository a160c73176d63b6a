/** Takes a kernel out of what is wrapped around it: gzip and its kin, a unified kernel image. */
import { isBzImage } from "../formats/bzimage.ts";
import { type Compression, compressionOf, decompress } from "../formats/compression.ts";
import { isPe } from "../formats/pe.ts";
import { readUki, type UkiProfile, type UnifiedKernelImage, ukiSection } from "../formats/uki.ts";
import { requireX86 } from "./architecture.ts";
import { chooseProfile } from "./uki-profile.ts";

/** A kernel file, taken apart. */
export interface UnwrappedKernel {
  /** A bzImage, an ELF file, or something else that is not known to be for another processor. */
  kernel: Uint8Array;
  /** What the file as a whole was packed with. */
  packedWith: Compression;
  uki: UnifiedKernelImage | undefined;
  /** The profile of the unified kernel image that the kernel is of. */
  profile: UkiProfile | undefined;
}

/**
 * @param profile number or ID of a unified kernel image's profile; without one its first
 * @throws RekernelError RK-BAD-IMAGE, RK-BAD-COMPRESSION, RK-UNSUPPORTED-COMPRESSION (1); RK-USAGE (2) for a
 *   profile that is not there
 */
export function unwrapKernel(bytes: Uint8Array, name: string, profile?: string): UnwrappedKernel {
  const packedWith = isBzImage(bytes) ? "none" : compressionOf(bytes);
  const file = unpack(bytes, name);
  requireX86(file, name, "32 or 64");
  const uki = isPe(file) && !isBzImage(file) ? readUki(file, name) : undefined;
  const chosen = chooseProfile(uki, name, profile);
  if (chosen === undefined) return { kernel: file, packedWith, uki, profile: undefined };
  const inside = `the section .linux of ${name}`;
  const kernel = unpack(ukiSection(chosen, ".linux")!, inside);
  requireX86(kernel, inside, "32 or 64");
  return { kernel, packedWith, uki, profile: chosen };
}

/** Kernels pack to a fifth or so: what would unpack to more is no kernel, and must not fill the memory. */
const mostUnpacked = { times: 40, bytes: 64 << 20 };

function unpack(bytes: Uint8Array, name: string): Uint8Array {
  const limitBytes = Math.max(mostUnpacked.bytes, mostUnpacked.times * bytes.length);
  return isBzImage(bytes) ? bytes : decompress(bytes, { name, limitBytes });
}
