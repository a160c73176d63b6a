/** Going down without an init system that knows kexec: what an orderly shutdown does, as far as it can be done from here. */
import { runStep, type WorkOptions } from "../core/progress.ts";
import { type EndedPrograms, endAllPrograms } from "../host/processes.ts";
import { remountReadOnly, sync } from "../host/reboot.ts";
import { unmountAll } from "../host/unmount.ts";

/** Init systems give services 5 to 90 seconds; those that write to disk at their end need the longer ones. */
const graceMs = 20_000;

export interface ShutdownReport extends Partial<EndedPrograms> {
  unmounted: string[];
  /** File systems on block devices that are writable still. */
  writable: string[];
}

/**
 * Ends all programs, unmounts what can be unmounted, writes everything out and makes the rest read-only.
 *
 * @param now leave programs and mounts alone
 */
export async function shutDownHere(
  options: WorkOptions & { now?: boolean | undefined },
): Promise<ShutdownReport> {
  const report: ShutdownReport = { unmounted: [], writable: [] };
  if (options.now !== true) {
    Object.assign(
      report,
      await runStep(options, "stop", "Ask all programs to end", () => endAllPrograms(graceMs)),
    );
    await runStep(options, "sync", "Write out the file systems", sync);
    report.unmounted = await runStep(
      options,
      "unmount",
      "Unmount what can be unmounted",
      async () => (await unmountAll()).gone,
    );
  }
  await runStep(options, "read-only", "Write out the file systems and make them read-only", async () => {
    await sync();
    report.writable = await remountReadOnly();
  });
  return report;
}
