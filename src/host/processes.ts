/** Ending all programs of this machine, as an init system does before it goes down. */
import { readlink } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { type HostPaths, thisHost } from "./paths.ts";
import { listNames, readHead, readText } from "./pseudo-files.ts";

/** One process, from proc_pid_stat(5). */
export interface ProcessStatus {
  pid: number;
  /** At most 15 bytes. */
  command: string;
  parent: number;
  session: number;
  /** It has ended, and its parent has not asked how. */
  zombie: boolean;
}

/** `1234 (a name) S 1 …`; the name may hold blanks and brackets. Undefined for what is no such line. */
export function parseProcessStatus(text: string): ProcessStatus | undefined {
  const match = /^(\d{1,10}) \(([\s\S]*)\) ([A-Za-z]) (-?\d{1,10}) -?\d{1,10} (-?\d{1,10}) /.exec(text);
  if (match === null) return undefined;
  const [, pid, command, state, parent, session] = match;
  return {
    pid: Number(pid),
    command: command!,
    parent: Number(parent),
    session: Number(session),
    zombie: state === "Z" || state === "X",
  };
}

/**
 * Which programs are to end when everything does: all but process 1, kernel threads, the processes above `self`
 * and those of its session, and daemons of the root's storage, which begin their name with `@`
 * (systemd's convention: systemd.io/ROOT_STORAGE_DAEMONS).
 *
 * @param commandLines argv by pid, empty for kernel threads
 */
export function programsToEnd(
  processes: readonly ProcessStatus[],
  commandLines: ReadonlyMap<number, string>,
  self: number,
): ProcessStatus[] {
  const byPid = new Map(processes.map((process) => [process.pid, process]));
  const spared = new Set([1]);
  for (let at: number | undefined = self; at !== undefined && !spared.has(at); at = byPid.get(at)?.parent)
    spared.add(at);
  const session = byPid.get(self)?.session;
  return processes.filter(({ pid, session: its, zombie }) => {
    const commandLine = commandLines.get(pid) ?? "";
    return (
      !zombie && !spared.has(pid) && its !== session && commandLine !== "" && !commandLine.startsWith("@")
    );
  });
}

async function runningPrograms(host: HostPaths): Promise<ProcessStatus[]> {
  const processes: ProcessStatus[] = [];
  const commandLines = new Map<number, string>();
  for (const name of await listNames(host.proc)) {
    if (!/^\d{1,10}$/.test(name)) continue;
    const status = parseProcessStatus((await readText(`${host.proc}/${name}/stat`)) ?? "");
    if (status === undefined) continue;
    processes.push(status);
    const head = await readHead(`${host.proc}/${name}/cmdline`, 64).catch(() => undefined);
    commandLines.set(status.pid, head?.toString("latin1") ?? "");
  }
  return programsToEnd(processes, commandLines, process.pid);
}

/** How programs were ended. */
export interface EndedPrograms {
  /** How many were asked to end (SIGTERM). */
  asked: number;
  /** Those that did not, by name and process, and were killed. */
  killed: string[];
}

/**
 * Asks all programs to end, waits, and kills the rest.
 *
 * @param graceMs how long they may take
 */
export async function endAllPrograms(graceMs: number, host: HostPaths = thisHost): Promise<EndedPrograms> {
  const first = await runningPrograms(host);
  for (const { pid } of first) signal(pid, "SIGTERM");
  const endMs = performance.now() + graceMs;
  let left = first;
  while (left.length > 0 && performance.now() < endMs) {
    await sleep(100);
    left = await runningPrograms(host);
  }
  for (const { pid } of left) signal(pid, "SIGKILL");
  if (left.length > 0) await sleep(200);
  return { asked: first.length, killed: left.map(({ pid, command }) => `${command} (process ${pid})`) };
}

/** A process may end between listing and signal. */
function signal(pid: number, name: "SIGTERM" | "SIGKILL"): void {
  try {
    process.kill(pid, name);
  } catch {}
}

/** More holders than this are not named. */
const namedHolders = 5;

/** Programs whose folder, root or open files lie below a folder, by name and process; what may not be seen is missing. */
export async function holdersOf(folder: string, host: HostPaths = thisHost): Promise<string[]> {
  const holders: string[] = [];
  const below = (path: string) => path === folder || path.startsWith(`${folder}/`);
  for (const name of await listNames(host.proc)) {
    if (!/^\d{1,10}$/.test(name)) continue;
    const at = `${host.proc}/${name}`;
    const descriptors = (await listNames(`${at}/fd`).catch(() => [])).map((fd) => `${at}/fd/${fd}`);
    const links = await Promise.all(
      [`${at}/cwd`, `${at}/root`, `${at}/exe`, ...descriptors].map((link) => readlink(link).catch(() => "")),
    );
    if (!links.some(below)) continue;
    if (holders.length === namedHolders) return [...holders, "others"];
    holders.push(`${(await readText(`${at}/comm`)) ?? "?"} (process ${name})`);
  }
  return holders;
}
