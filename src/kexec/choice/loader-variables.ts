/** EFI variables through which boot loader and system talk (systemd's Boot Loader Interface). */
import { join } from "node:path";
import type { BootFiles } from "./boot-files.ts";

const vendor = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/** A variable's text; undefined where it is not set, or the machine has no EFI. */
export function loaderVariable(files: BootFiles, name: string): string | undefined {
  const bytes = files.readBytes(join(files.root, "sys/firmware/efi/efivars", `${name}-${vendor}`));
  // Four bytes of attributes come before the text (Documentation/filesystems/efivarfs.rst).
  if (bytes === undefined || bytes.length < 6) return undefined;
  return bytes.toString("utf16le", 4).replace(/\0[\s\S]*$/, "");
}
