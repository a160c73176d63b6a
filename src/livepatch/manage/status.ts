/** What live patches the running kernel has, and how far they are. */
import { RekernelError } from "../../core/errors.ts";
import { type LivePatch, readLivePatches, requireLivePatchSupport } from "../../host/livepatches.ts";
import { type LoadedModule, loadedModule } from "../../host/modules.ts";
import { type HostPaths, thisHost } from "../../host/paths.ts";
import { type WaitingTask, waitingTasks } from "../../host/tasks.ts";
import { patchName } from "./unload.ts";

/** A registered patch with its module, and with the tasks it waits for while it is in transition. */
export interface PatchStatus extends LivePatch {
  module: LoadedModule | undefined;
  waiting: WaitingTask[];
}

/**
 * All patches in the order in which they were enabled where the kernel tells it (6.14), else by name.
 *
 * @throws RekernelError RK-NO-LIVEPATCH (5)
 */
export async function listPatches(host: HostPaths = thisHost): Promise<LivePatch[]> {
  await requireLivePatchSupport(host);
  const patches = await readLivePatches(host);
  return patches.sort((a, b) => (a.stackOrder ?? 0) - (b.stackOrder ?? 0));
}

/**
 * Details of one patch, or of all without a name.
 *
 * @throws RekernelError RK-NO-LIVEPATCH (5); RK-NOT-LOADED (1) for a name that is not loaded
 */
export async function patchStatus(name?: string, host: HostPaths = thisHost): Promise<PatchStatus[]> {
  const patches = await listPatches(host);
  const wanted = name === undefined ? undefined : patchName(name);
  const chosen = patches.filter((patch) => wanted === undefined || patch.name === wanted);
  if (wanted !== undefined && chosen.length === 0)
    throw new RekernelError("failed", "RK-NOT-LOADED", `No live patch ${wanted} is loaded.`, {
      hint: "See what is loaded: rekernel patch list",
    });
  return Promise.all(
    chosen.map(async (patch) => ({
      ...patch,
      module: await loadedModule(patch.name, host),
      waiting: patch.transition ? await waitingTasks(patch.enabled ? 1 : 0, { stacks: true }, host) : [],
    })),
  );
}
