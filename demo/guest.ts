import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { RekernelError } from "../src/core/errors.ts";
import { runToolOk } from "../src/core/tools.ts";
import { bootVm, type LabKernel, type Vm } from "../src/lab/vm.ts";
import { Poller, type PollStatistics } from "./poller.ts";

const root = join(import.meta.dirname, "..");
const rekernel = join(root, "bin/rekernel");
const servicePort = 8080;
const departureLog = "departure.log";
/** Emulated processors are slow, and the machine that emulates may be busy. */
const patienceMs = 180_000;

/** Who runs in the guest: equal before and after means that nothing was restarted. */
export interface Identity {
  bootId: string;
  release: string;
  /** Start times, in clock ticks since boot, of pid 1 and of the service. */
  startTimes: Record<number, number>;
}

/** What the trigger of the defect printed, and whether it showed the defect. */
export interface Trial {
  defect: boolean;
  output: string;
}

/** A guest that runs the demonstration's service, and the client that polls it. */
export class DemoGuest implements AsyncDisposable {
  readonly vm: Vm;
  readonly poller: Poller;
  /** Folder of the host that the guest sees at /share. */
  readonly share: string;

  private constructor(vm: Vm, poller: Poller, share: string) {
    this.vm = vm;
    this.poller = poller;
    this.share = share;
  }

  /** Boots `kernel` and returns when the service has answered. The service starts by itself at every boot. */
  static async boot(kernel: LabKernel, next: LabKernel, signal?: AbortSignal): Promise<DemoGuest> {
    const share = await mkdtemp(join(tmpdir(), "rekernel-demo-"));
    let vm: Vm | undefined;
    let poller: Poller | undefined;
    try {
      for (const program of ["service", "survivor"]) {
        const source = join(import.meta.dirname, "guest", `${program}.c`);
        await runToolOk("gcc-12", ["-O2", "-pthread", "-o", join(share, program), source], { signal });
      }
      vm = await bootVm({
        kernel,
        nextKernels: [next],
        share,
        forwards: [{ host: 0, guest: servicePort }],
        onBoot: `exec /share/service ${servicePort}`,
        signal,
      });
      poller = new Poller(`http://127.0.0.1:${vm.forwardedPort(servicePort)}/`);
      poller.start();
      await poller.waitFor(() => true, { timeoutMs: patienceMs, signal });
      return new DemoGuest(vm, poller, share);
    } catch (error) {
      await poller?.stop();
      await vm?.stop();
      await rm(share, { recursive: true, force: true });
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.poller.stop();
    await this.vm.stop();
    await rm(this.share, { recursive: true, force: true });
  }

  /** Starts a process whose first thread has ended, and kills its control group: see guest/cgroup-kill.sh. */
  async tryDefect(): Promise<Trial> {
    const script = join(import.meta.dirname, "guest/cgroup-kill.sh");
    const { exitCode, stdout, stderr } = await this.vm.run(["sh", script, "/share/survivor"], {
      timeoutMs: patienceMs,
    });
    if (exitCode > 1) throw unexpected(`${basename(script)} could not run (${exitCode}): ${stderr.trim()}`);
    return { defect: exitCode === 1, output: stdout };
  }

  /** Runs `rekernel` in the guest, from this checkout. */
  async rekernel(...args: string[]): Promise<string> {
    const { exitCode, stdout, stderr } = await this.vm.run([rekernel, ...args], { timeoutMs: patienceMs });
    if (exitCode !== 0)
      throw new RekernelError(
        "failed",
        "RK-DEMO",
        `In the guest, rekernel ${args[0]} ${args[1]} ended with exit code ${exitCode}.`,
        { details: `${stdout}${stderr}` },
      );
    return stdout;
  }

  /** Starts `rekernel` in the guest with a command that leaves the running kernel: it never ends. */
  async depart(...args: string[]): Promise<void> {
    await this.#leave([rekernel, ...args]);
  }

  /** Restarts the guest as a machine is restarted: through its firmware. */
  async departByReboot(): Promise<void> {
    await this.#leave(["busybox", "reboot", "-f"]);
  }

  async #leave(command: readonly string[]): Promise<void> {
    const log = `/share/${departureLog}`;
    await this.vm.start(["sh", "-c", `exec "$@" >${log} 2>&1`, "sh", ...command]);
  }

  async identity(): Promise<Identity> {
    const service = this.poller.last!.status;
    const startTimes: Record<number, number> = {};
    for (const pid of [1, service.pid]) {
      const stat = Buffer.from(await this.vm.readFile(`/proc/${pid}/stat`)).toString();
      // Field 22 of proc(5); the name in field 2 may hold anything, so count from its end.
      const afterName = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      startTimes[pid] = Number(afterName[22 - 3]);
    }
    return { bootId: service.bootId, release: service.release, startTimes };
  }

  async uptimeMs(): Promise<number> {
    const [seconds] = Buffer.from(await this.vm.readFile("/proc/uptime"))
      .toString()
      .split(" ");
    return Number(seconds) * 1000;
  }

  /** What the client outside saw of the service while `work` ran. */
  async watch<T>(work: () => Promise<T>): Promise<{ result: T; seen: PollStatistics }> {
    const fromMs = performance.now();
    const result = await work();
    // An answer that was on its way when the work ended still belongs to it.
    const toMs = performance.now();
    await this.poller.waitFor(() => true, { sinceMs: toMs, timeoutMs: patienceMs });
    return { result, seen: this.poller.statistics(fromMs, performance.now()) };
  }

  /**
   * Waits for the guest's next kernel and its service.
   *
   * @returns the time between the last answer of the old kernel and the first one of the new
   */
  async arrival(oldBootId: string, signal?: AbortSignal): Promise<number> {
    await this.vm.waitForBoot({ timeoutMs: patienceMs }).catch(async (error: Error) => {
      const log = await readFile(join(this.share, departureLog), "utf8").catch(() => "");
      const console = error instanceof RekernelError ? (error.details ?? "") : "";
      throw new RekernelError("failed", "RK-DEMO", `The guest did not come back: ${error.message}`, {
        details: `${log}${console}`,
        cause: error,
      });
    });
    const first = await this.poller.waitFor(({ bootId }) => bootId !== oldBootId, {
      sinceMs: this.poller.lastOf(oldBootId)!.atMs,
      timeoutMs: patienceMs,
      signal,
    });
    return first.atMs - this.poller.lastOf(oldBootId)!.atMs;
  }
}

/** The demonstration did not go as it must: nothing is glossed over. */
export function unexpected(what: string): RekernelError {
  return new RekernelError("failed", "RK-DEMO", `Not as expected: ${what}.`);
}
