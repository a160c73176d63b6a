/** One initrd out of several archives. */
import { RekernelError } from "../core/errors.ts";

/** A piece of the next kernel's initrd. */
export interface InitrdPart {
  /** Where it comes from, in words: a path, `.ucode of uki.efi`. */
  from: string;
  data: Uint8Array;
}

/** Behind it nothing may follow: the kernel looks for it at the very end (init/main.c). */
const bootConfigMagic = "#BOOTCONFIG\n";

/**
 * Archives one behind the other, as the kernel unpacks them (init/initramfs.c unpack_to_rootfs): each begins
 * at a multiple of 4, because a plain cpio archive is recognized only there, with NULs between, which are
 * skipped. At least 4 of them, because only they end an archive packed with lz4 (lib/decompress_unlz4.c).
 *
 * @returns chunks to be written one behind the other; views of what was given
 * @throws RekernelError RK-INITRD-ORDER (4) when an archive with a boot configuration is not the last
 */
export function joinInitrds(parts: readonly InitrdPart[]): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  for (const [index, { from, data }] of parts.entries()) {
    chunks.push(data);
    if (index === parts.length - 1) break;
    if (hasBootConfig(data))
      throw new RekernelError(
        "refused",
        "RK-INITRD-ORDER",
        `${from} ends in a boot configuration (bootconfig), and others follow it.`,
        { hint: "The kernel finds one only at the very end: give this initrd last, and no overlay." },
      );
    chunks.push(new Uint8Array(4 + ((4 - (data.length % 4)) % 4)));
  }
  return chunks;
}

/** Boot loaders may have filled it up with NULs to a multiple of 4 (get_boot_config_from_initrd). */
function hasBootConfig(data: Uint8Array): boolean {
  const end = Buffer.from(data.subarray(Math.max(0, data.length - bootConfigMagic.length - 3)));
  return end.toString("latin1").replace(/\0+$/, "").endsWith(bootConfigMagic);
}
