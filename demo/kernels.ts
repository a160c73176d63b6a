import { RekernelError } from "../src/core/errors.ts";
import type { WorkOptions } from "../src/core/progress.ts";
import { type AvailableKernel, availableKernels } from "../src/kernel/target.ts";

/** The kernels of the demonstration: the newest one, and older ones of the same series, newest first. */
export interface DemoKernels {
  newest: AvailableKernel;
  older: AvailableKernel[];
}

/** What Debian's archive offers now. Which older kernel is taken, the patch decides: it has to apply. */
export async function demoKernels(options: WorkOptions): Promise<DemoKernels> {
  const stock = (await availableKernels(options)).filter(({ flavour }) => flavour === "amd64");
  const [newest, ...rest] = stock;
  const older = rest.filter((kernel) => seriesOf(kernel) === seriesOf(newest!));
  if (newest === undefined || older.length === 0)
    throw new RekernelError(
      "failed",
      "RK-DEMO-KERNELS",
      `Two kernels of one series are needed; apt offers ${newest?.release ?? "none"}.`,
      { hint: "Is bookworm-security among apt's sources? Then run: apt-get update" },
    );
  return { newest, older };
}

function seriesOf({ release }: AvailableKernel): string {
  return release.split(".", 2).join(".");
}
