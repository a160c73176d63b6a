import { RekernelError } from "../core/errors.ts";
import { runStep, type WorkOptions } from "../core/progress.ts";
import { crashText, describeEnd, lastLines } from "./end.ts";
import { bootVm, type VmOptions } from "./vm.ts";

export interface LabRunOptions extends Omit<VmOptions, "signal"> {
  /** A program and its arguments. */
  command: readonly string[];
  /** Working folder in the guest. */
  cwd?: string | undefined;
  /** Limit for the command, not for the boot. */
  timeoutMs?: number | undefined;
  /** Read the kernel's messages when the command has ended. */
  dmesg?: boolean | undefined;
  onStdout?: ((data: Uint8Array) => void) | undefined;
  onStderr?: ((data: Uint8Array) => void) | undefined;
}

/** A command that ran to its end in a guest that lived. */
export interface LabRun {
  /** Release of the kernel it ran on. */
  kernel: string;
  /** As a shell tells it: 128 + N for a command that signal N ended. */
  exitCode: number;
  stdout: string;
  stderr: string;
  elapsedMs: number;
  dmesg?: string | undefined;
}

/**
 * Boots a virtual machine, runs one command in it and ends it.
 *
 * @throws RekernelError what {@link bootVm} throws; RK-LAB-PANIC (1) with the crash report as details,
 *   RK-LAB-HANG, RK-LAB-ENDED, RK-LAB-RESTARTED, RK-LAB-TIMEOUT (1) when the guest or the limit ends first
 */
export async function runInLab(options: LabRunOptions, work: WorkOptions = {}): Promise<LabRun> {
  await using vm = await runStep(work, "boot", `Boot ${options.kernel.release}`, () =>
    bootVm({ ...options, signal: work.signal }),
  );
  const startedMs = performance.now();
  try {
    const { command, cwd, timeoutMs, onStdout, onStderr } = options;
    const result = await vm.run(command, { cwd, timeoutMs, onStdout, onStderr });
    const elapsedMs = performance.now() - startedMs;
    const dmesg = options.dmesg === true ? await vm.dmesg() : undefined;
    return { kernel: vm.release(), ...result, elapsedMs, ...(dmesg === undefined ? {} : { dmesg }) };
  } catch (error) {
    work.signal?.throwIfAborted();
    if (!(error instanceof RekernelError) || error.code !== "RK-LAB-PANIC") throw error;
    const end = await vm.waitForEnd();
    throw new RekernelError("failed", "RK-LAB-PANIC", `In the lab ${describeEnd(end)}.`, {
      details: crashText(end.log) || lastLines(end.log),
      cause: error,
    });
  }
}
