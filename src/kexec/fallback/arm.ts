/** Before the jump: everything that brings the old kernel back when the new one is not confirmed. */
import { randomBytes } from "node:crypto";
import { rm } from "node:fs/promises";
import { hasErrno, RekernelError } from "../../core/errors.ts";
import { runStep, type WorkOptions } from "../../core/progress.ts";
import { runTool } from "../../core/tools.ts";
import { initSystem } from "../../host/init-system.ts";
import { readMounts } from "../../host/mounts.ts";
import { thisHost } from "../../host/paths.ts";
import { readInteger } from "../../host/pseudo-files.ts";
import { runningKernel } from "../../host/running-kernel.ts";
import { SyscallError } from "../../host/syscall.ts";
import { OpenWatchdog } from "../../host/watchdog-device.ts";
import { readWatchdogs, watchdogsRunOn } from "../../host/watchdogs.ts";
import { chooseKernel } from "../choice/choose.ts";
import { clearBootOnce, setBootOnce } from "./boot-once.ts";
import { findOldKernel } from "./old-kernel.ts";
import {
  type FallbackRecord,
  isOnTrial,
  readFallback,
  recordFile,
  removeFallback,
  writeFallback,
} from "./record.ts";
import { installUnit } from "./unit.ts";

export interface FallbackOptions {
  /** From the new kernel's boot until it must be confirmed. */
  minutes: number;
  /** How rekernel is started at boot, with full paths. */
  program: readonly string[];
}

/** A fallback that is armed, for people. */
export interface ArmedFallback {
  minutes: number;
  /** The kernel that comes back. */
  release: string;
  /** Files that were made: all are gone after `kexec confirm`, or when the old kernel is back. */
  files: string[];
  /** What a boot through the firmware starts meanwhile: the old kernel's entry. Undefined where it cannot be told. */
  bootEntry: string | undefined;
  /** What a crash, a hang, and a silent kernel lead to, and what is missing; sentences. */
  notes: string[];
}

/** Longer than the way down and up takes on a slow machine. */
const watchdogSeconds = 600;

/** The mark of a trial, for the new kernel's command line. */
export function newTrial(): string {
  return randomBytes(8).toString("hex");
}

/**
 * Makes sure, changing nothing, that there is a way back.
 *
 * @returns release of the kernel that would come back
 * @throws RekernelError RK-KEXEC-FALLBACK (4)
 */
export async function requireWayBack({ program }: FallbackOptions): Promise<string> {
  const record = await readFallback();
  const running = await runningKernel();
  if (record !== undefined && isOnTrial(record, running.commandLine))
    throw new RekernelError(
      "refused",
      "RK-KEXEC-FALLBACK",
      `This kernel, ${running.release}, is on trial itself, with ${record.old.release} to fall back to.`,
      { hint: "Confirm it first: rekernel kexec confirm" },
    );
  const path = program[0]!;
  const mount = (await readMounts())
    .filter(({ mountPoint }) => mountPoint === "/" || path.startsWith(`${mountPoint}/`))
    .toSorted((a, b) => a.mountPoint.length - b.mountPoint.length)
    .at(-1);
  if (mount !== undefined && /^(tmpfs|ramfs)$/.test(mount.type))
    throw new RekernelError(
      "refused",
      "RK-KEXEC-FALLBACK",
      `${path} is in memory only: nothing could watch over the next kernel.`,
      { hint: "Install rekernel on a disk." },
    );
  const { old } = await findOldKernel(await chooseKernel(), running);
  return old.release;
}

/**
 * Leaves the record, the unit that watches (under systemd) and the boot loader's one-shot default. What it made is
 * taken back when any of it fails, or by `disarm`: until the jump the watchdog is this process's, and stops with it
 * only through `disarm`.
 *
 * @param trial as in the command line that was loaded
 * @throws RekernelError RK-KEXEC-FALLBACK (4) where the running kernel cannot be started again; RK-WRITE (1)
 */
export async function armFallback(
  trial: string,
  next: { release?: string | undefined; image: string },
  { minutes, program }: FallbackOptions,
  options: WorkOptions,
): Promise<{ shown: ArmedFallback; disarm(): Promise<void> }> {
  return runStep(options, "fallback", "Prepare the way back", async () => {
    const [choice, running, init] = await Promise.all([chooseKernel(), runningKernel(), initSystem()]);
    const { old, entry } = await findOldKernel(choice, running);
    const left = await readFallback();
    if (left !== undefined) await clearFallback(left);
    const record: FallbackRecord = {
      version: 1,
      trial,
      minutes,
      armedAt: new Date().toISOString(),
      armedBoot: running.bootId,
      next: { image: next.image, ...(next.release === undefined ? {} : { release: next.release }) },
      old,
      files: [],
      panicSeconds: (await readInteger(`${thisHost.proc}/sys/kernel/panic`)) ?? 0,
    };
    const notes: string[] = [];
    try {
      // First of all: what is made from here on is known to whoever clears it.
      await writeFallback(record);
      if (init.kind === "systemd") record.files = await installUnit(program, old.release);
      else
        notes.push(
          `Nothing runs at boot by itself without systemd: have your init start “${[...program, "kexec", "fallback-watch"].join(" ")}” in the background.`,
        );
      const { change, problem } = await setBootOnce(choice, entry);
      if (change !== undefined) record.loader = change;
      if (problem !== undefined)
        notes.push(`${problem} After a reset the firmware starts its default, which may be the new kernel.`);
      await writeFallback(record);
      const { watchdog, note } = await armWatchdog();
      notes.push(note);
      const shown: ArmedFallback = {
        minutes,
        release: old.release,
        files: [recordFile, ...record.files],
        bootEntry: record.loader?.entry,
        notes,
      };
      return {
        shown,
        async disarm() {
          await watchdog?.stop();
          await clearFallback(record);
        },
      };
    } catch (error) {
      await clearFallback(record);
      throw error;
    }
  });
}

/** Arms the first watchdog that nobody feeds; the note says what comes of it. */
async function armWatchdog(): Promise<{ watchdog: OpenWatchdog | undefined; note: string }> {
  const noHelp = "a kernel that hangs before its user space stays hung.";
  const [watchdogs, runsOn] = await Promise.all([readWatchdogs(), watchdogsRunOn()]);
  if (watchdogs.length === 0) return { watchdog: undefined, note: `There is no watchdog: ${noHelp}` };
  if (runsOn === false)
    return {
      watchdog: undefined,
      note: `The kernel stops watchdogs at the jump (watchdog.stop_on_reboot=1): ${noHelp}`,
    };
  for (const { name } of watchdogs) {
    const watchdog = await OpenWatchdog.open(name, watchdogSeconds).catch((error: unknown) => {
      if (hasErrno(error) || error instanceof SyscallError) return undefined;
      throw error;
    });
    if (watchdog === undefined) continue;
    const armed = `The watchdog ${name} is armed with ${watchdog.timeoutSeconds} seconds`;
    const note =
      runsOn === true
        ? `${armed} and runs on over the jump.`
        : `${armed}; whether it runs on over the jump is its driver's decision (watchdog.stop_on_reboot=0 makes it).`;
    return { watchdog, note };
  }
  return {
    watchdog: undefined,
    note: "The watchdog belongs to another program, which has to see to it that it outlasts the jump.",
  };
}

/**
 * Takes back all that was made for a trial: the boot loader's one-shot default, the unit, the record. Watchdogs stop
 * with the program that feeds them.
 */
export async function clearFallback(record: FallbackRecord): Promise<void> {
  if (record.loader !== undefined) await clearBootOnce(record.loader);
  for (const file of record.files) await rm(file, { force: true });
  // After all that it names: until then whatever failed can be done again.
  await removeFallback();
  if (record.files.length > 0 && (await initSystem()).kind === "systemd")
    // Early in a busy boot systemd may answer late, or not at all: it only forgets the unit a little later then.
    await runTool("systemctl", ["daemon-reload"], { signal: AbortSignal.timeout(reloadMs) }).catch(() => {});
}

const reloadMs = 30_000;
