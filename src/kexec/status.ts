/** What can be said about kexec on this machine. */
import { initSystem } from "../host/init-system.ts";
import { type KexecState, readKexecState } from "../host/kexec.ts";
import { type Lockdown, readLockdown } from "../host/lockdown.ts";
import { runningKernel } from "../host/running-kernel.ts";
import { currentTrial, type Trial } from "./fallback/trial.ts";

export interface KexecStatus extends KexecState {
  /** Release of the running kernel. */
  running: string;
  lockdown: Lockdown;
  /** How `kexec exec` would jump. */
  execThrough: "systemd" | "directly";
  /** The kernel on trial, or its way back. */
  trial: Trial | undefined;
}

/** Never fails on a machine without kexec: `supported` is false then. */
export async function kexecStatus(): Promise<KexecStatus> {
  const [state, lockdown, kernel, init, trial] = await Promise.all([
    readKexecState(),
    readLockdown(),
    runningKernel(),
    initSystem(),
    currentTrial(),
  ]);
  return {
    running: kernel.release,
    ...state,
    lockdown,
    execThrough: init.kind === "systemd" ? "systemd" : "directly",
    trial,
  };
}
