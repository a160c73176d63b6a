/** What can be said about kexec on this machine. */
import { initSystem } from "../host/init-system.ts";
import { type KexecState, readKexecState } from "../host/kexec.ts";
import { type Lockdown, readLockdown } from "../host/lockdown.ts";
import { runningKernel } from "../host/running-kernel.ts";

export interface KexecStatus extends KexecState {
  /** Release of the running kernel. */
  running: string;
  lockdown: Lockdown;
  /** How `kexec exec` would jump. */
  execThrough: "systemd" | "directly";
}

/** Never fails on a machine without kexec: `supported` is false then. */
export async function kexecStatus(): Promise<KexecStatus> {
  const [state, lockdown, kernel, init] = await Promise.all([
    readKexecState(),
    readLockdown(),
    runningKernel(),
    initSystem(),
  ]);
  return {
    running: kernel.release,
    ...state,
    lockdown,
    execThrough: init.kind === "systemd" ? "systemd" : "directly",
  };
}
