/** Tries live patches in their kernel in the lab, several in one guest. */
import type { WorkOptions } from "../src/core/progress.ts";
import type { TargetKernel } from "../src/kernel/target.ts";
import { bootForTrial, type PatchOnTrial, type PatchTrial, tryPatch } from "../src/lab/patch-trial.ts";

const patchesPerVm = 12;

export async function loadAll(
  kernel: TargetKernel,
  patches: readonly PatchOnTrial[],
  options: WorkOptions & { onLoaded(name: string, result: PatchTrial): void },
): Promise<Map<string, PatchTrial>> {
  const results = new Map<string, PatchTrial>();
  const waiting = [...patches];
  while (waiting.length > 0) {
    const batch = waiting.slice(0, patchesPerVm);
    const vm = await bootForTrial(kernel, batch, options);
    try {
      for (const patch of batch) {
        waiting.shift();
        const result = await tryPatch(vm, patch);
        results.set(patch.name, result);
        options.onLoaded(patch.name, result);
        // What did not go may be in the way of the next: a fresh kernel for it.
        if (result.verdict !== "clean" && result.verdict !== "rejected") break;
      }
    } finally {
      await vm.stop();
    }
  }
  return results;
}
