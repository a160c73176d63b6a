/** ACPI's root pointer, read from memory. */
import { hasErrno } from "../core/errors.ts";
import { type HostPaths, thisHost } from "./paths.ts";
import { readHead } from "./pseudo-files.ts";

/** Up to the extended checksum; that of ACPI 1.0 ends with RsdtAddress. */
const bytes20 = 36;
const bytes10 = 20;

/**
 * A copy of the structure, as long as its revision makes it (ACPI Specification 6.5, section 5.2.5.3).
 *
 * @param address physical
 * @returns undefined where /dev/mem does not show it (lockdown, no root), or something else lies there
 */
export async function readRsdp(address: bigint, host: HostPaths = thisHost): Promise<Uint8Array | undefined> {
  const bytes = await readHead(`${host.dev}/mem`, bytes20, Number(address)).catch((error: unknown) => {
    if (hasErrno(error)) return undefined;
    throw error;
  });
  if (bytes === undefined || bytes.toString("latin1", 0, 8) !== "RSD PTR ") return undefined;
  const size = bytes[15]! >= 2 ? bytes20 : bytes10;
  if (bytes.length < size || sum(bytes.subarray(0, bytes10)) !== 0) return undefined;
  return bytes.subarray(0, size);
}

function sum(bytes: Uint8Array): number {
  return bytes.reduce((total, byte) => (total + byte) & 0xff, 0);
}
