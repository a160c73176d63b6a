import { isBzImage } from "../formats/bzimage.ts";
import { decompress } from "../formats/compression.ts";
import { ET_REL } from "../formats/elf/constants.ts";
import { KernelImage } from "./image.ts";
import { readInputFile } from "./input-file.ts";
import { KernelModuleFile } from "./module.ts";

/**
 * Opens a kernel image or a module, whichever the file is, packed or not.
 *
 * @throws as {@link KernelImage.open} and {@link KernelModuleFile.open}
 */
export async function openImageOrModule(path: string): Promise<KernelImage | KernelModuleFile> {
  const bytes = await readInputFile(path, "kernel image or module");
  if (isBzImage(bytes)) return KernelImage.fromBytes(bytes, path);
  const unpacked = decompress(bytes, { name: path });
  const isRelocatable =
    unpacked[0] === 0x7f && unpacked[1] === 0x45 && unpacked[4] === 2 && unpacked[16] === ET_REL;
  return isRelocatable ? KernelModuleFile.fromBytes(unpacked, path) : KernelImage.fromBytes(unpacked, path);
}
