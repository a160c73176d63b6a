/** What may come up in a bad state or be lost when this machine kexecs. Nothing is changed. */
import { hasErrno } from "../../core/errors.ts";
import { readBlockDevices } from "../../host/block-devices.ts";
import { initSystem } from "../../host/init-system.ts";
import { readMounts } from "../../host/mounts.ts";
import { type HostPaths, thisHost } from "../../host/paths.ts";
import { isForbidden } from "../../host/pseudo-files.ts";
import { runningKernel } from "../../host/running-kernel.ts";
import { crashKernel } from "./crash-kernel.ts";
import { devices } from "./devices.ts";
import { display } from "./display.ts";
import { encryptedRoot } from "./encrypted-root.ts";
import type { Check, Finding, Machine, Severity } from "./finding.ts";
import { hibernation } from "./hibernation.ts";
import { inhibitors } from "./inhibitors.ts";
import { kernelHealth } from "./kernel-health.ts";
import { livePatches } from "./live-patches.ts";
import { loading } from "./loading.ts";
import { memoryMounts } from "./memory-mounts.ts";
import { modules } from "./modules.ts";
import { networkMounts } from "./network-mounts.ts";
import { raid } from "./raid.ts";
import { unwrittenData } from "./unwritten-data.ts";
import { virtualMachines } from "./virtual-machines.ts";
import { watchdog } from "./watchdog.ts";

export interface KexecPreflight {
  /** Release of the running kernel. */
  running: string;
  /** Something has to be seen to first. */
  blocked: boolean;
  /** The most serious first. */
  findings: Finding[];
}

const checks: readonly Check[] = [
  loading,
  virtualMachines,
  hibernation,
  devices,
  watchdog,
  encryptedRoot,
  display,
  networkMounts,
  memoryMounts,
  raid,
  inhibitors,
  kernelHealth,
  livePatches,
  modules,
  crashKernel,
  unwrittenData,
];

/** The names of all checks. */
export const checkNames: readonly string[] = checks.map(({ name }) => name);

const rank: Readonly<Record<Severity, number>> = { blocks: 0, warns: 1, unknown: 2, notes: 3 };

/**
 * Needs no root; what only root may see is a finding `unknown` for others.
 *
 * @param host where the machine shows itself; tests give folders
 */
export async function preflightKexec(host: HostPaths = thisHost): Promise<KexecPreflight> {
  const [mounts, blockDevices] = [readMounts(host), readBlockDevices(host)];
  // Whoever awaits them gets the error; this keeps Node from calling it unhandled before.
  await Promise.allSettled([mounts, blockDevices]);
  const [kernel, init] = await Promise.all([runningKernel(host), initSystem(host)]);
  const machine: Machine = { host, init, mounts, blockDevices };
  const findings = (await Promise.all(checks.map((check) => runCheck(check, machine)))).flat();
  return {
    running: kernel.release,
    blocked: findings.some(({ severity }) => severity === "blocks"),
    findings: findings.sort((a, b) => rank[a.severity] - rank[b.severity]),
  };
}

async function runCheck({ name, looksAt, find }: Check, machine: Machine): Promise<Finding[]> {
  try {
    return (await find(machine)).map((finding) => ({ check: name, ...finding }));
  } catch (error) {
    if (!hasErrno(error)) throw error;
    return [
      {
        check: name,
        severity: "unknown",
        subject: `${looksAt.charAt(0).toUpperCase()}${looksAt.slice(1)} could not be looked at (${error.code})`,
        items: error.path === undefined ? [] : [error.path],
        why: `Whether there is something to see to is not known.`,
        advice: isForbidden(error)
          ? "Run the command as root."
          : "See the kernel's log (dmesg) for the reason.",
      },
    ];
  }
}
