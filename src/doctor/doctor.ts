import type { WorkOptions } from "../core/progress.ts";
import { runningKernel } from "../host/running-kernel.ts";
import { checkBuild } from "./build.ts";
import { checkLab } from "./lab.ts";
import { isPackage } from "./packages.ts";
import { type CapabilityName, type Check, capabilityNames, type MachineReport } from "./report.ts";
import { checkKexec, checkLivePatch } from "./running-kernel.ts";

const examinations: Readonly<
  Record<CapabilityName, { title: string; check: (options: WorkOptions) => Promise<Check[]> }>
> = {
  build: { title: "build live patches", check: checkBuild },
  livepatch: { title: "load live patches into this kernel", check: () => checkLivePatch() },
  kexec: { title: "start another kernel by kexec", check: () => checkKexec() },
  lab: { title: "try patches and kernels in virtual machines", check: checkLab },
};

/**
 * What this machine can do with rekernel, what is missing for the rest, and how to get it. Changes nothing,
 * but may boot a small virtual machine once to see whether KVM works.
 *
 * @param names the capabilities to look at
 */
export async function examineMachine(
  names: readonly CapabilityName[] = capabilityNames,
  options: WorkOptions = {},
): Promise<MachineReport> {
  const capabilities = [];
  for (const name of names) {
    options.signal?.throwIfAborted();
    const { title, check } = examinations[name];
    const checks = await check(options);
    capabilities.push({ name, title, available: checks.every(({ state }) => state !== "missing"), checks });
  }
  const missingPackages = capabilities
    .flatMap(({ checks }) => checks)
    .filter(({ name, state }) => state === "missing" && isPackage(name))
    .map(({ name }) => name);
  return {
    kernelRelease: (await runningKernel()).release,
    capabilities,
    missingPackages,
    ...(missingPackages.length === 0
      ? {}
      : { installCommand: `apt-get install --no-install-recommends -y ${missingPackages.join(" ")}` }),
  };
}
