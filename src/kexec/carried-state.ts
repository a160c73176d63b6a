/** State of the running kernel that only kexec_file_load hands on to the next one. */
import { readMeasurementCount } from "../host/ima.ts";
import { runningKernelConfig } from "../host/kernel-config.ts";
import { type HostPaths, thisHost } from "../host/paths.ts";
import { runningKernel } from "../host/running-kernel.ts";
import { splitCommandLine } from "./command-line.ts";

/**
 * Source: kernel/liveupdate/kexec_handover.c (`kho=on`, since Linux 6.16); security/integrity/ima/ima_kexec.c
 * (CONFIG_IMA_KEXEC). One measurement, of the boot itself, is there on every machine with IMA.
 *
 * @returns what there is, in a full sentence; undefined for nothing
 */
export async function carriedState(
  runningCommandLine: string,
  host: HostPaths = thisHost,
): Promise<string | undefined> {
  const words = splitCommandLine(runningCommandLine);
  const handover = words.find((word) => /^(kho|liveupdate)=(on|1|y|yes|true)$/.test(word));
  if (handover !== undefined)
    return `The running kernel can hand over what programs preserve (${handover}), which only kexec_file_load does.`;
  const [measurements = 0, { release }] = await Promise.all([
    readMeasurementCount(host),
    runningKernel(host),
  ]);
  if (measurements <= 1) return undefined;
  const config = await runningKernelConfig(release, host);
  return config?.get("CONFIG_IMA_KEXEC") === "y"
    ? `IMA has measured ${measurements} files, and only kexec_file_load hands on that list.`
    : undefined;
}
