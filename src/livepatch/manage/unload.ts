/** Taking a live patch back: disable, watch the transition to its end, remove the module. */
import { setTimeout as sleep } from "node:timers/promises";
import { hasErrno, RekernelError } from "../../core/errors.ts";
import { runStep, type WorkOptions } from "../../core/progress.ts";
import { readTransition, requireLivePatchSupport, setEnabled } from "../../host/livepatches.ts";
import { isLivePatch, loadedModule } from "../../host/modules.ts";
import { requireCapability } from "../../host/privilege.ts";
import { defaultTransitionTimeoutMs } from "./load.ts";
import { removeModule } from "./remove.ts";
import { explainWaiting, reverseTransition, waitForTransition } from "./transition.ts";

export interface UnloadOptions extends WorkOptions {
  /** How long the transition may take before the patch is enabled again. */
  timeoutMs?: number | undefined;
}

export interface UnloadResult {
  name: string;
  /** From the request to the last task that runs the old code again; 0 when the patch was off already. */
  transitionMs: number;
}

const busyRetryMs = 250;

/**
 * Takes a patch back and removes its module. When the transition stalls, the patch is enabled again.
 *
 * @param name as `rekernel patch list` prints it; a file name or path of the module is understood
 * @throws RekernelError RK-NOT-ROOT, RK-NO-LIVEPATCH (5); RK-NOT-LIVEPATCH (4); RK-NOT-LOADED (3);
 *   RK-BUSY, RK-TRANSITION-STALLED, RK-TRANSITION-STUCK, RK-MODULE-IN-USE (1)
 */
export async function unloadPatch(name: string, options: UnloadOptions = {}): Promise<UnloadResult> {
  const timeoutMs = options.timeoutMs ?? defaultTransitionTimeoutMs;
  const patch = patchName(name);
  await requireLivePatchSupport();
  const loaded = await loadedModule(patch);
  if (loaded === undefined)
    throw new RekernelError("nothingToDo", "RK-NOT-LOADED", `No live patch ${patch} is loaded.`, {
      hint: "See what is loaded: rekernel patch list",
    });
  if (!isLivePatch(loaded))
    throw new RekernelError("refused", "RK-NOT-LIVEPATCH", `The module ${patch} is not a live patch.`, {
      hint: "Remove ordinary modules with rmmod.",
    });
  await requireCapability("CAP_SYS_MODULE", "Taking a live patch back");

  const state = await readTransition(patch);
  const transitionMs =
    state === undefined
      ? 0
      : await runStep(options, "transition", "Move every task to the old code", async (update) => {
          const startedMs = performance.now();
          if (state.enabled) await disable(patch, timeoutMs, options, update);
          await finishUnloading(patch, timeoutMs, options, update);
          return performance.now() - startedMs;
        });
  await runStep(options, "unload", `Remove ${patch}`, () => removeModule(patch));
  return { name: patch, transitionMs };
}

/** `/tmp/fix-1.ko` and `fix-1` both name the module fix_1. */
export function patchName(name: string): string {
  const base = name.slice(name.lastIndexOf("/") + 1);
  return base.replace(/\.ko$/, "").replaceAll("-", "_");
}

async function disable(
  name: string,
  timeoutMs: number,
  options: WorkOptions,
  update: (note: string) => void,
): Promise<void> {
  const endMs = performance.now() + timeoutMs;
  for (;;) {
    options.signal?.throwIfAborted();
    try {
      return await setEnabled(name, false);
    } catch (error) {
      if (!hasErrno(error) || error.code !== "EBUSY") throw error;
      if (performance.now() >= endMs)
        throw new RekernelError(
          "failed",
          "RK-BUSY",
          `Cannot take ${name} back: another live patch is still in transition (EBUSY).`,
          { hint: "See who holds it up: rekernel patch status. Then try again.", cause: error },
        );
    }
    update("the kernel is busy with another patch");
    await sleep(busyRetryMs);
  }
}

async function finishUnloading(
  name: string,
  timeoutMs: number,
  options: WorkOptions,
  update: (note: string) => void,
): Promise<void> {
  const end = await waitForTransition(name, false, { timeoutMs, signal: options.signal, update });
  if (end.kind === "done") return;
  if (end.kind === "reversed")
    throw new RekernelError(
      "failed",
      "RK-TRANSITION-REVERSED",
      `Someone else enabled ${name} again while it was being taken back.`,
    );
  update("enabling the patch again");
  const back = await reverseTransition(name, true, { timeoutMs, update });
  const details = explainWaiting(back.kind === "stalled" ? back.waiting : end.waiting);
  if (back.kind !== "done")
    throw new RekernelError(
      "failed",
      "RK-TRANSITION-STUCK",
      `${name} could neither be taken back nor be enabled again within ${timeoutMs / 1000} s.`,
      {
        hint: `The kernel goes on trying by itself. Watch it: rekernel patch status ${name}`,
        details,
      },
    );
  if (end.interrupted) options.signal?.throwIfAborted();
  throw new RekernelError(
    "failed",
    "RK-TRANSITION-STALLED",
    `${name} could not be taken back within ${timeoutMs / 1000} s, so it is enabled again: ${end.waiting.length} ${end.waiting.length === 1 ? "task" : "tasks"} stayed in its code.`,
    { hint: "Stop or restart what is listed, or give it longer with --timeout.", details },
  );
}
