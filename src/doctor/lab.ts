import { access, constants, readdir } from "node:fs/promises";
import { join } from "node:path";
import { cacheFolder } from "../core/cache.ts";
import { runStep, type WorkOptions } from "../core/progress.ts";
import { bootableKernel } from "../kernel/target.ts";
import { chooseAccelerator } from "../lab/accelerator.ts";
import { requireBusybox } from "../lab/qemu.ts";
import { checkPackages } from "./packages.ts";
import type { Check } from "./report.ts";

/** What the lab's virtual machines need. */
export async function checkLab(options: WorkOptions): Promise<Check[]> {
  const [packages, firmware] = await Promise.all([checkPackages("lab"), checkFirmware()]);
  return packages.every(({ state }) => state === "ok")
    ? [...packages, ...firmware, await checkAccelerator(options)]
    : [...packages, ...firmware];
}

/** Most of what the lab is for goes without UEFI. */
async function checkFirmware(): Promise<Check[]> {
  const packages = await checkPackages("lab firmware");
  return packages.map((check) => (check.state === "missing" ? { ...check, state: "note" } : check));
}

/** Whether a stock kernel really runs under KVM is known only after it has: some devices cannot. */
async function checkAccelerator(options: WorkOptions): Promise<Check> {
  const name = "kvm";
  const slow = "virtual machines run without KVM, about ten times slower";
  const usable = await access("/dev/kvm", constants.R_OK | constants.W_OK).then(
    () => true,
    () => false,
  );
  if (!usable)
    return {
      name,
      state: "note",
      finding: `/dev/kvm is not there or not open to this user: ${slow}.`,
      hint: "Where the machine has it: adduser USER kvm",
    };
  const image = await cachedKernel();
  if (image === undefined)
    return {
      name,
      state: "unknown",
      finding: "/dev/kvm is there; the first virtual machine will show whether it works.",
    };
  const busybox = await requireBusybox();
  const accelerator = await runStep(options, "kvm", "Trying a kernel under KVM", () =>
    chooseAccelerator(image, busybox),
  );
  return accelerator === "kvm"
    ? { name, state: "ok", finding: "A stock kernel runs under KVM." }
    : {
        name,
        state: "note",
        finding: `/dev/kvm is there, but a stock kernel does not run with it: ${slow}.`,
      };
}

async function cachedKernel(): Promise<string | undefined> {
  for (const release of (await readdir(await cacheFolder("kernels"))).sort().reverse()) {
    const folder = join(await cacheFolder("kernels"), release, "image");
    const isThere = await access(folder).then(
      () => true,
      () => false,
    );
    if (isThere) return (await bootableKernel(release)).image;
  }
  return undefined;
}
