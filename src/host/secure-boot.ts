import { type HostPaths, thisHost } from "./paths.ts";
import { readHead } from "./pseudo-files.ts";

/** EFI_GLOBAL_VARIABLE, UEFI specification 2.10, section 3.3. */
const variable = "firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

/**
 * Whether the firmware enforces Secure Boot; undefined without UEFI or efivarfs.
 * The file holds four bytes of attributes, then the value (Documentation/filesystems/efivarfs.rst).
 *
 * @throws EACCES where this user may not read it
 */
export async function readSecureBoot(host: HostPaths = thisHost): Promise<boolean | undefined> {
  const bytes = await readHead(`${host.sys}/${variable}`, 5);
  return bytes?.length === 5 ? bytes[4] === 1 : undefined;
}
