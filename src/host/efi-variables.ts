import { hasErrno } from "../core/errors.ts";
import { type HostPaths, thisHost } from "./paths.ts";
import { isForbidden, readHead } from "./pseudo-files.ts";

/** EFI_IMAGE_SECURITY_DATABASE_GUID: db and dbx. */
export const imageSecurityGuid = "d719b2cb-3d3a-4596-a3bc-dad00e67656f";
/** EFI_SHIM_LOCK_GUID: the machine owner's lists. */
export const shimGuid = "605dab50-e046-4300-abb6-3dd810dd8b23";

/** A full dbx is some 20 KB. */
const maxValueBytes = 4 << 20;

/**
 * The value of an EFI variable; undefined where it is not set, may not be read, or the machine has no EFI.
 * The file begins with four bytes of attributes (Documentation/filesystems/efivarfs.rst).
 */
export async function readEfiVariable(
  name: string,
  guid: string,
  host: HostPaths = thisHost,
): Promise<Uint8Array | undefined> {
  const bytes = await readUnlessHidden(`${host.sys}/firmware/efi/efivars/${name}-${guid}`);
  return bytes === undefined || bytes.length < 4 ? undefined : bytes.subarray(4);
}

/**
 * A variable that shim left to the kernel, where efivars has no room for it.
 * Source: drivers/firmware/efi/mokvar-table.c.
 */
export function readMokVariable(name: string, host: HostPaths = thisHost): Promise<Uint8Array | undefined> {
  return readUnlessHidden(`${host.sys}/firmware/efi/mok-variables/${name}`);
}

async function readUnlessHidden(path: string): Promise<Uint8Array | undefined> {
  try {
    return await readHead(path, maxValueBytes);
  } catch (error) {
    // EIO: firmware that answers no more; EINTR is how efivarfs limits how often it is asked.
    if (isForbidden(error) || (hasErrno(error) && ["EIO", "EINTR"].includes(error.code))) return undefined;
    throw error;
  }
}
