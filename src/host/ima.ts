import { stat } from "node:fs/promises";
import { hasErrno } from "../core/errors.ts";
import { type HostPaths, thisHost } from "./paths.ts";
import { isForbidden, readHead, readInteger } from "./pseudo-files.ts";

/** Rules of a few hundred lines are long ones. */
const maxPolicyBytes = 1 << 20;

/**
 * The policy of the kernel's integrity measurement architecture.
 *
 * `none`: there is no IMA. `hidden`: its built-in rules, which the kernel does not show. `replaced`: rules that
 * somebody loaded, which it does not show either. `unknown`: securityfs is not to be seen.
 */
export type ImaPolicy =
  | { state: "none" | "hidden" | "replaced" | "unknown" }
  | { state: "shown"; rules: string };

/** Source: security/integrity/ima/ima_fs.c: the file is taken away once a policy has been written to it. */
export async function readImaPolicy(host: HostPaths = thisHost): Promise<ImaPolicy> {
  const security = `${host.sys}/kernel/security`;
  if (!(await exists(`${security}/lsm`))) return { state: "unknown" };
  // Not `ima`, which is a link in some versions and a folder of its own in others.
  if (!(await exists(`${security}/ima/violations`))) return { state: "none" };
  try {
    const bytes = await readHead(`${security}/ima/policy`, maxPolicyBytes);
    return bytes === undefined ? { state: "replaced" } : { state: "shown", rules: bytes.toString("latin1") };
  } catch (error) {
    if (isForbidden(error)) return { state: "hidden" };
    throw error;
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (isForbidden(error)) return true;
    if (hasErrno(error)) return false;
    throw error;
  }
}

/** How many files IMA has measured since boot; undefined without IMA, and for all but root. */
export function readMeasurementCount(host: HostPaths = thisHost): Promise<number | undefined> {
  return readInteger(`${host.sys}/kernel/security/ima/runtime_measurements_count`);
}
