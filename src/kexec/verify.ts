/** The last look at what is loaded, while the old kernel still serves. */
import { RekernelError } from "../core/errors.ts";
import { runStep, type WorkOptions } from "../core/progress.ts";
import { type HostPaths, thisHost } from "../host/paths.ts";
import { type LoadedRecord, recallLoaded } from "./loaded-record.ts";
import { checkLoadedImage } from "./purgatory/loaded.ts";

/** `verified`: what waits for the jump is, by SHA-256, what rekernel loaded; else `reason` says why that is not known. */
export type BeforeJump = { verified: true } | { verified: false; reason: string };

/**
 * Takes the SHA-256 of the loaded image in the running kernel's memory and compares it with what was loaded.
 * Where nothing can be compared, the jump may go on: the purgatory verifies by itself, if only by a sum.
 *
 * @throws RekernelError RK-KEXEC-CHANGED (4) when a segment is not what was loaded any more
 */
export async function verifyBeforeJump(
  options: WorkOptions = {},
  host: HostPaths = thisHost,
): Promise<BeforeJump> {
  const record = await recallLoaded(host);
  if (record === undefined)
    return {
      verified: false,
      reason: "The loaded kernel is not one that rekernel loaded by kexec_load in this boot.",
    };
  return runStep(options, "verify", "Verify the loaded kernel", () => verify(record, host));
}

async function verify(record: LoadedRecord, host: HostPaths): Promise<BeforeJump> {
  const check = await checkLoadedImage(record.expected, host);
  if (check.state === "intact") return { verified: true };
  if (check.state === "unreadable")
    return {
      verified: false,
      reason: `The loaded kernel cannot be read back: ${check.reason}. The purgatory verifies it (${record.digest}).`,
    };
  if (!check.sameLayout)
    return {
      verified: false,
      reason: "Another kernel was loaded since rekernel did: who loaded it answers for it.",
    };
  throw new RekernelError(
    "refused",
    "RK-KEXEC-CHANGED",
    `The loaded kernel is not what was loaded: ${check.differences.join(" ")}`,
    {
      hint: "Something wrote over it: a device, a broken module, or bad memory. Do not trust this machine's memory: load it again and look at the kernel's log, or reboot through the firmware.",
    },
  );
}
