/** After the jump: the kernel on trial is confirmed, or the old one comes back. */
import { readFile, writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { hasErrno, RekernelError } from "../../core/errors.ts";
import { runStep, type WorkOptions } from "../../core/progress.ts";
import { runTool } from "../../core/tools.ts";
import { initSystem } from "../../host/init-system.ts";
import { thisHost } from "../../host/paths.ts";
import { requireCapability } from "../../host/privilege.ts";
import { rebootMachine } from "../../host/reboot.ts";
import { runningKernel } from "../../host/running-kernel.ts";
import { OpenWatchdog } from "../../host/watchdog-device.ts";
import { readWatchdogs } from "../../host/watchdogs.ts";
import { execKexec } from "../exec.ts";
import { loadKexec, unloadKexec } from "../load.ts";
import { shutDownHere } from "../shutdown.ts";
import { clearFallback } from "./arm.ts";
import { type FallbackRecord, isOnTrial, readFallback } from "./record.ts";

/**
 * `armed`: the jump is still to come; `trial`: the kernel on trial runs; `returned`: another one runs, so the
 * trial is over.
 */
export type TrialState = "armed" | "trial" | "returned";

export interface Trial {
  state: TrialState;
  /** Release of the kernel on trial, where its image tells it. */
  next: string | undefined;
  /** Release of the kernel that would come back. */
  old: string;
  minutes: number;
  /** Until the old kernel comes back; 0 where that is under way. Undefined unless the trial runs. */
  secondsLeft: number | undefined;
}

/** Seconds since boot, sleep included. */
async function uptimeSeconds(): Promise<number> {
  return Number.parseFloat(await readFile(`${thisHost.proc}/uptime`, "latin1"));
}

async function stateOf(record: FallbackRecord): Promise<TrialState> {
  const { bootId, commandLine } = await runningKernel();
  if (isOnTrial(record, commandLine)) return "trial";
  return bootId === record.armedBoot ? "armed" : "returned";
}

/** The trial that is pending; undefined without one, or where this user may not see it. */
export async function currentTrial(): Promise<Trial | undefined> {
  const record = await readFallback().catch((error: unknown) => {
    if (hasErrno(error)) return undefined;
    throw error;
  });
  if (record === undefined) return undefined;
  const state = await stateOf(record);
  return {
    state,
    next: record.next.release,
    old: record.old.release,
    minutes: record.minutes,
    secondsLeft:
      state === "trial" ? Math.max(0, Math.round(record.minutes * 60 - (await uptimeSeconds()))) : undefined,
  };
}

/** What `kexec confirm` ended. */
export interface Confirmed {
  /** The kernel that stays. */
  running: string;
  /** The kernel that would have come back. */
  old: string;
}

/**
 * Keeps the kernel on trial: nothing goes back any more, and nothing that was made for it is left.
 *
 * @throws RekernelError RK-KEXEC-NO-TRIAL (3) where no kernel is on trial, what is left of one is cleared then;
 *   RK-NOT-ROOT (5)
 */
export async function confirmKernel(options: WorkOptions = {}): Promise<Confirmed> {
  await requireCapability("CAP_SYS_BOOT", "Confirming a kernel");
  const record = await readFallback();
  if (record === undefined)
    throw new RekernelError(
      "nothingToDo",
      "RK-KEXEC-NO-TRIAL",
      "No kernel is on trial: there is nothing to confirm.",
    );
  const state = await stateOf(record);
  await runStep(options, "confirm", "Clear the way back", () => clearFallback(record));
  const { release } = await runningKernel();
  if (state === "trial") {
    await writeFile(`${thisHost.proc}/sys/kernel/panic`, String(record.panicSeconds));
    return { running: release, old: record.old.release };
  }
  throw new RekernelError(
    "nothingToDo",
    "RK-KEXEC-NO-TRIAL",
    state === "armed"
      ? "The kernel on trial has not started yet; the way back is cleared, and nothing watches over it any more."
      : `This is not the kernel on trial, but ${release}: the trial failed, or the machine was reset. What was left of it is cleared.`,
  );
}

/** How a watch ended; `returning`: the machine goes down into the old kernel. */
export interface WatchEnd {
  outcome: "nothing" | "confirmed" | "returned" | "returning";
  old: string | undefined;
}

/** Fed every few seconds; short enough to notice a dead user space, long enough for a busy one. */
const feedMs = 10_000;
const fedSeconds = 120;
/** For the way down and the old kernel's way up. */
const returnSeconds = 600;

/**
 * Runs at boot: waits until the kernel on trial is confirmed, and goes back to the old one when its time is over.
 * In the old kernel it clears what is left of the trial. Meanwhile it feeds a watchdog, so that a user space that
 * dies takes the machine back as well, through the firmware.
 *
 * @throws RekernelError RK-NOT-ROOT (5)
 */
export async function watchFallback(options: WorkOptions = {}): Promise<WatchEnd> {
  await requireCapability("CAP_SYS_BOOT", "Going back to the old kernel");
  const record = await readFallback();
  if (record === undefined) return { outcome: "nothing", old: undefined };
  const old = record.old.release;
  const state = await stateOf(record);
  if (state === "armed") return { outcome: "nothing", old };
  if (state === "returned") {
    await runStep(options, "clear", "Clear what is left of the trial", () => clearFallback(record));
    return { outcome: "returned", old };
  }
  const watchdog = await openWatchdog();
  try {
    if (await isConfirmedInTime(record, watchdog, options)) return { outcome: "confirmed", old };
  } catch (error) {
    // Stopped from outside, as at any shutdown: whatever comes next is not this watch's.
    await watchdog?.stop();
    throw error;
  }
  await watchdog?.setTimeout(returnSeconds);
  await watchdog?.leaveArmed();
  await goBack(record, options);
  return { outcome: "returning", old };
}

async function isConfirmedInTime(
  record: FallbackRecord,
  watchdog: OpenWatchdog | undefined,
  { signal }: WorkOptions,
): Promise<boolean> {
  let fedMs = 0;
  while ((await uptimeSeconds()) < record.minutes * 60) {
    if (watchdog !== undefined && performance.now() - fedMs >= feedMs) {
      await watchdog.feed();
      fedMs = performance.now();
    }
    await sleep(1000, undefined, { signal });
    if ((await readFallback())?.trial !== record.trial) {
      await watchdog?.stop();
      return true;
    }
  }
  return false;
}

/** A driver may come later than this; then there is none. */
async function openWatchdog(): Promise<OpenWatchdog | undefined> {
  for (const { name } of await readWatchdogs()) {
    const opened = await OpenWatchdog.open(name, fedSeconds).catch(() => undefined);
    if (opened !== undefined) return opened;
  }
  return undefined;
}

/** By kexec; where that fails, through the firmware, which starts the boot loader's one-shot default. */
async function goBack({ old }: FallbackRecord, options: WorkOptions): Promise<void> {
  try {
    const { image, initrds, commandLine } = old;
    await loadKexec({ image, initrds, commandLine }, options);
    // Nothing may hold it up: what hooks wait for, this kernel may never bring.
    await execKexec({ ...options, noHooks: true });
  } catch (error) {
    if (!(error instanceof RekernelError)) throw error;
    await unloadKexec().catch(() => {});
    await runStep(options, "reboot", `Reboot through the firmware: ${error.message}`, async () => {
      if ((await initSystem()).kind === "systemd") {
        const { exitCode } = await runTool("systemctl", ["reboot"], {
          env: { SYSTEMCTL_SKIP_AUTO_KEXEC: "1" },
        });
        if (exitCode === 0) return;
      }
      await shutDownHere(options);
      await rebootMachine();
    });
  }
}
