/** Tasks that a live patch's transition still waits for. */
import { readdir } from "node:fs/promises";
import { type HostPaths, thisHost } from "./paths.ts";
import { readInteger, readText } from "./pseudo-files.ts";

/** One thread that has not changed sides yet. */
export interface WaitingTask {
  /** Thread id; equals `pid` for a process's first thread. */
  tid: number;
  pid: number;
  /** The thread's name, at most 15 bytes. */
  command: string;
  /** Kernel stack, innermost first, as /proc/<tid>/stack prints it; empty where it may not be read. */
  stack: string[];
}

/** More than this is no help to a reader, and every stack costs a read. */
const maxStacks = 16;

/** `[<0>] do_select+0x6b4/0x880` lines without their prefix. */
export function parseStack(text: string): string[] {
  return text
    .split("\n")
    .map((line) => line.replace(/^\[<[0-9a-f]+>\]\s*/, "").trim())
    .filter((line) => line !== "");
}

/**
 * Threads whose patch state is not the one the transition goes to.
 * Source: fs/proc/base.c proc_pid_patch_state: -1 no transition, 0 unpatched, 1 patched.
 *
 * @param target 1 while a patch is being applied, 0 while it is taken back
 */
export async function waitingTasks(
  target: 0 | 1,
  options: { stacks?: boolean } = {},
  host: HostPaths = thisHost,
): Promise<WaitingTask[]> {
  const waiting: WaitingTask[] = [];
  for (const pid of await numericNames(host.proc)) {
    for (const tid of await numericNames(`${host.proc}/${pid}/task`)) {
      const folder = `${host.proc}/${pid}/task/${tid}`;
      const state = await readInteger(`${folder}/patch_state`);
      if (state === undefined || state === -1 || state === target) continue;
      const command = (await readText(`${folder}/comm`)) ?? "?";
      const wanted = options.stacks === true && waiting.length < maxStacks;
      const stack = wanted ? parseStack((await readText(`${folder}/stack`)) ?? "") : [];
      waiting.push({ tid, pid, command, stack });
    }
  }
  return waiting;
}

async function numericNames(folder: string): Promise<number[]> {
  const names = await readdir(folder).catch(() => []);
  return names.filter((name) => /^\d{1,10}$/.test(name)).map(Number);
}
