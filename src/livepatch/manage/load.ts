/** Loading a live patch: checked before, watched to its end, taken back when it does not get there. */
import { setTimeout as sleep } from "node:timers/promises";
import { RekernelError } from "../../core/errors.ts";
import { runStep, type WorkOptions } from "../../core/progress.ts";
import { KernelLogTail } from "../../host/kernel-log.ts";
import {
  type LivePatch,
  readLivePatch,
  readLivePatches,
  readTransition,
  requireLivePatchSupport,
} from "../../host/livepatches.ts";
import { finitModule, initModule, isLivePatch, loadedBuildId, loadedModule } from "../../host/modules.ts";
import { requireCapability } from "../../host/privilege.ts";
import { runningKernel } from "../../host/running-kernel.ts";
import { SyscallError } from "../../host/syscall.ts";
import type { WaitingTask } from "../../host/tasks.ts";
import { KernelModuleFile } from "../../kernel/module.ts";
import { explainLoadFailure } from "./explain.ts";
import { type PatchFile, readPatchFile, requireRelease } from "./patch-file.ts";
import { removeModule } from "./remove.ts";
import { explainWaiting, reverseTransition, waitForTransition } from "./transition.ts";

/** The kernel pokes sleeping tasks every 15 s: less than a few rounds gives up too early. */
export const defaultTransitionTimeoutMs = 60_000;
const busyRetryMs = 250;

export interface LoadOptions extends WorkOptions {
  /** How long the transition may take before it is taken back. */
  timeoutMs?: number | undefined;
}

export interface LoadResult {
  patch: LivePatch;
  /** From the request (finit_module) to the last task that runs the new code. */
  transitionMs: number;
  /** Patches that this one replaced; their modules are removed. */
  replaced: string[];
}

/**
 * Loads a live patch and waits until every task uses it. On failure the machine is as it was before.
 *
 * @throws RekernelError RK-NOT-ROOT, RK-NO-LIVEPATCH (5); RK-NOT-LIVEPATCH, RK-WRONG-KERNEL,
 *   RK-NAME-TAKEN (4); RK-ALREADY-LOADED (3); RK-MODULE-… (1, 5); RK-TRANSITION-STALLED (1), taken back;
 *   RK-TRANSITION-STUCK (1), could not be taken back
 */
export async function loadPatch(path: string, options: LoadOptions = {}): Promise<LoadResult> {
  const timeoutMs = options.timeoutMs ?? defaultTransitionTimeoutMs;
  const file = await runStep(options, "check", "Check the patch against the running kernel", () =>
    checkPatch(path),
  );
  const before = await readLivePatches();
  let startedMs = 0;
  await runStep(options, "load", `Load ${file.name}`, async (update) => {
    startedMs = await insert(file, timeoutMs, options, update);
  });
  await runStep(options, "transition", "Move every task to the new code", (update) =>
    finishLoading(file.name, timeoutMs, options, update),
  );
  const transitionMs = performance.now() - startedMs;
  const patch = await readLivePatch(file.name);
  if (patch === undefined)
    throw new RekernelError(
      "failed",
      "RK-PATCH-GONE",
      `The patch ${file.name} was taken back by someone else.`,
    );
  const replaced = await removeReplaced(before.map(({ name }) => name));
  return { patch, transitionMs, replaced };
}

/** Everything that can be found out before the kernel is touched. */
async function checkPatch(path: string): Promise<PatchFile> {
  // The file first: whether it is a patch at all can be said without root and on any kernel.
  const file = await readPatchFile(path);
  await requireCapability("CAP_SYS_MODULE", "Loading a live patch");
  await requireLivePatchSupport();
  requireRelease(file, (await runningKernel()).release);
  await requireFreeName(file);
  return file;
}

async function requireFreeName(file: PatchFile): Promise<void> {
  const loaded = await loadedModule(file.name);
  if (loaded === undefined) return;
  if (!isLivePatch(loaded))
    throw new RekernelError(
      "refused",
      "RK-NAME-TAKEN",
      `A module named ${file.name} is loaded already, and it is not a live patch.`,
      { hint: "Build the patch under another name." },
    );
  const state = await readTransition(file.name);
  if (state?.enabled !== true)
    throw new RekernelError(
      "refused",
      "RK-NAME-TAKEN",
      `The module ${file.name} is still in the kernel, but its patch is off.`,
      { hint: `Remove it first: rekernel patch unload ${file.name}` },
    );
  // Few kernels have CONFIG_MODULE_SRCVERSION_ALL; the linker's build id is there as well.
  const [theirs, ours] = [
    await loadedBuildId(file.name),
    KernelModuleFile.fromBytes(file.bytes, file.path).buildId,
  ];
  const isOther = theirs !== undefined && ours !== undefined && theirs !== ours;
  if (loaded.sourceVersion !== file.sourceVersion || isOther)
    throw new RekernelError(
      "refused",
      "RK-NAME-TAKEN",
      `Another build of ${file.name} is loaded (build id ${theirs ?? "none"}, this file has ${ours ?? "none"}).`,
      { hint: `Take it back first: rekernel patch unload ${file.name}` },
    );
  throw new RekernelError(
    "nothingToDo",
    "RK-ALREADY-LOADED",
    `The patch ${file.name} is loaded and enabled already.`,
    { hint: `See: rekernel patch status ${file.name}` },
  );
}

/** @returns when the call that succeeded began, on the clock of performance.now() */
async function insert(
  file: PatchFile,
  timeoutMs: number,
  options: WorkOptions,
  update: (note: string) => void,
): Promise<number> {
  const endMs = performance.now() + timeoutMs;
  for (;;) {
    options.signal?.throwIfAborted();
    const log = await KernelLogTail.open();
    const startedMs = performance.now();
    try {
      if (file.isPlain) await finitModule(file.path);
      else await initModule(file.bytes);
      return startedMs;
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
      if (error.code !== "EBUSY" || performance.now() >= endMs)
        throw explainLoadFailure(file.path, error, log.read());
    } finally {
      log.close();
    }
    update("the kernel is busy with another patch");
    await sleep(busyRetryMs);
  }
}

async function finishLoading(
  name: string,
  timeoutMs: number,
  options: WorkOptions,
  update: (note: string) => void,
): Promise<void> {
  const end = await waitForTransition(name, true, { timeoutMs, signal: options.signal, update });
  if (end.kind === "done") return;
  if (end.kind === "reversed")
    throw new RekernelError(
      "failed",
      "RK-TRANSITION-REVERSED",
      `Someone else took ${name} back while it was being loaded.`,
    );
  update("taking the patch back");
  await takeBack(name, timeoutMs, end.waiting, update);
  if (end.interrupted) options.signal?.throwIfAborted();
  throw new RekernelError(
    "failed",
    "RK-TRANSITION-STALLED",
    `${name} was loaded but could not be finished within ${timeoutMs / 1000} s, so it was taken back: ${countTasks(end.waiting)} stayed in the old code.`,
    {
      hint: "The machine is as it was before. Stop or restart what is listed, or give it longer with --timeout.",
      details: explainWaiting(end.waiting),
    },
  );
}

async function takeBack(
  name: string,
  timeoutMs: number,
  waiting: readonly WaitingTask[],
  update: (note: string) => void,
): Promise<void> {
  const end = await reverseTransition(name, false, { timeoutMs, update });
  if (end.kind !== "done")
    throw new RekernelError(
      "failed",
      "RK-TRANSITION-STUCK",
      `${name} could neither be finished nor be taken back within ${timeoutMs / 1000} s.`,
      {
        hint: `The kernel goes on trying by itself. Watch it: rekernel patch status ${name}`,
        details: explainWaiting(end.kind === "stalled" ? end.waiting : waiting),
      },
    );
  await removeModule(name);
}

function countTasks(waiting: readonly unknown[]): string {
  return waiting.length === 1 ? "1 task" : `${waiting.length} tasks`;
}

/** A replaced patch is off for good (the kernel cannot enable it again): only its memory is left to free. */
async function removeReplaced(names: readonly string[]): Promise<string[]> {
  const replaced: string[] = [];
  for (const name of names) {
    const state = await readTransition(name);
    if (state?.enabled === true) continue;
    replaced.push(name);
    // Its new successor works whether or not this succeeds.
    await removeModule(name).catch(() => {});
  }
  return replaced;
}
