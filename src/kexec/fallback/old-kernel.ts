/** The kernel that runs, as something that can be started again. */
import { RekernelError } from "../../core/errors.ts";
import type { RunningKernel } from "../../host/running-kernel.ts";
import type { BootKernel, KernelChoice } from "../choice/boot-kernel.ts";
import { reusableCommandLine } from "../command-line.ts";
import { planKexec } from "../plan.ts";
import type { OldKernel } from "./record.ts";

/**
 * Finds the running kernel among what the machine could boot: by the release in the image's own header, not by its
 * name. The command line is the running one, which is known to work.
 *
 * @throws RekernelError RK-KEXEC-FALLBACK (4) where it is not there any more
 */
export async function findOldKernel(
  choice: KernelChoice,
  running: RunningKernel,
): Promise<{ old: OldKernel; entry: BootKernel }> {
  const commandLine = reusableCommandLine(running.commandLine);
  // The entry that was booted, if it is still there, before others with the same kernel.
  const booted = /(?:^|\s)BOOT_IMAGE=(\S+)/.exec(running.commandLine)?.[1]?.split("/").at(-1);
  const likely = (kernel: BootKernel) =>
    Number(kernel.source !== "folder") * 2 + Number(booted !== undefined && kernel.image?.endsWith(booted));
  for (const entry of choice.kernels.toSorted((a, b) => likely(b) - likely(a))) {
    if (entry.image === undefined || entry.problem !== undefined) continue;
    const plan = await planKexec({ image: entry.image, initrds: entry.initrds, commandLine }, "").catch(
      (error: unknown) => {
        if (error instanceof RekernelError) return undefined;
        throw error;
      },
    );
    if (plan?.release !== running.release) continue;
    const { image, initrds } = entry;
    return { old: { release: running.release, image, initrds, commandLine }, entry };
  }
  throw new RekernelError(
    "refused",
    "RK-KEXEC-FALLBACK",
    `There is nothing to fall back to: the image of the running kernel, ${running.release}, was not found.`,
    { hint: "rekernel kexec list shows what there is. Install that kernel again, or go without --fallback." },
  );
}
