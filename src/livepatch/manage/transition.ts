/** Watching a live patch change sides: every task must leave the old functions before the kernel is done. */
import { setTimeout as sleep } from "node:timers/promises";
import { readTransition, setEnabled } from "../../host/livepatches.ts";
import { type HostPaths, thisHost } from "../../host/paths.ts";
import { type WaitingTask, waitingTasks } from "../../host/tasks.ts";

export interface TransitionOptions {
  timeoutMs: number;
  signal?: AbortSignal | undefined;
  /** Called with a short text about what is waited for. */
  update?: (note: string) => void;
  host?: HostPaths;
}

export type TransitionEnd =
  | { kind: "done" }
  /** Not over in time, or the signal came; `waiting` names who has not changed sides. */
  | { kind: "stalled"; waiting: WaitingTask[]; interrupted: boolean }
  /** Someone else turned it round. */
  | { kind: "reversed" };

const firstPollMs = 10;
const slowestPollMs = 200;
/** Reading every task's state costs two system calls for each: not on every poll. */
const tellEveryMs = 1000;

/**
 * Waits until the transition that is going on, if any, has moved every task to the wanted side.
 *
 * The kernel looks at all tasks again about once a second and pokes the ones that sleep
 * every 15 seconds (kernel/livepatch/transition.c), so a transition may rest for a while and still end.
 *
 * @param enabled the side that the transition goes to
 */
export async function waitForTransition(
  name: string,
  enabled: boolean,
  options: TransitionOptions,
): Promise<TransitionEnd> {
  const { timeoutMs, signal, update, host = thisHost } = options;
  const target = enabled ? 1 : 0;
  const startedMs = performance.now();
  let toldMs = startedMs;
  let pollMs = firstPollMs;
  for (;;) {
    const state = await readTransition(name, host);
    const elapsedMs = performance.now() - startedMs;
    // A patch that is off and at rest disappears from sysfs.
    if (state === undefined) return { kind: enabled ? "reversed" : "done" };
    if (state.enabled !== enabled) return { kind: "reversed" };
    if (!state.transition) return { kind: "done" };
    const interrupted = signal?.aborted === true;
    if (interrupted || elapsedMs >= timeoutMs)
      return { kind: "stalled", waiting: await waitingTasks(target, { stacks: true }, host), interrupted };
    if (performance.now() - toldMs >= tellEveryMs) {
      toldMs = performance.now();
      update?.(describeWaiting(await waitingTasks(target, {}, host)));
    }
    await sleep(Math.min(pollMs, timeoutMs - elapsedMs));
    pollMs = Math.min(pollMs * 2, slowestPollMs);
  }
}

/** Turns a transition round and waits until the patch is back where it was. */
export async function reverseTransition(
  name: string,
  backTo: boolean,
  options: Omit<TransitionOptions, "signal">,
): Promise<TransitionEnd> {
  await setEnabled(name, backTo, options.host);
  return waitForTransition(name, backTo, options);
}

/** `waiting for 3 tasks: sshd (812), kworker/0:1 (12), cron (433)` */
export function describeWaiting(waiting: readonly WaitingTask[]): string {
  if (waiting.length === 0) return "waiting for the kernel to finish";
  const names = waiting.slice(0, 3).map(({ command, tid }) => `${command} (${tid})`);
  const more = waiting.length > names.length ? ", …" : "";
  return `waiting for ${waiting.length} ${waiting.length === 1 ? "task" : "tasks"}: ${names.join(", ")}${more}`;
}

/** One paragraph for each task that holds a transition up, with its kernel stack where that was readable. */
export function explainWaiting(waiting: readonly WaitingTask[]): string {
  const lines = waiting.flatMap(({ command, tid, pid, stack }) => [
    `${command} (${tid === pid ? `pid ${pid}` : `thread ${tid} of pid ${pid}`})`,
    ...stack.map((frame) => `    ${frame}`),
  ]);
  return lines.length === 0
    ? "No task could be named: /proc/<pid>/patch_state tells nothing here."
    : lines.join("\n");
}
