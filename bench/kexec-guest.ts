/** One way out of a running kernel in a guest, timed by what its console prints. */
import { readdirSync, readFileSync } from "node:fs";
import type { Vm } from "../src/lab/vm.ts";
import { firstLine } from "./kexec-initrd.ts";

/** Moments of a jump, by what the console prints then. */
const signs = {
  /** The old user space gives up serving. */
  leaving: /bench: leaving|rekernel: going down for kexec/,
  /** kernel_kexec: devices are shut down. */
  jumping: /kexec_core: Starting new kernel|sysrq: Resetting|reboot: Restarting system/,
  /** The next kernel's console works; its first line is older by the time that takes. */
  kernel: /\] Linux version /,
  unpacking: /Trying to unpack rootfs image as initramfs|Unpacking initramfs/,
  unpacked: /Freeing initrd memory/,
  userSpace: new RegExp(`^${firstLine}|\\] Run /init as init process`),
} as const;

type Sign = keyof typeof signs;

/** Milliseconds between two signs, and what of them the emulator's processor time was. */
export interface Span {
  ms: number;
  cpuMs: number;
}

export interface Jump {
  downtime: Span;
  /** Of the downtime, in their order. */
  phases: Record<"stop" | "handOver" | "kernel" | "initrd" | "toUserSpace", Span>;
}

const phaseSigns: readonly [keyof Jump["phases"], Sign, Sign][] = [
  ["stop", "leaving", "jumping"],
  ["handOver", "jumping", "kernel"],
  ["kernel", "kernel", "unpacking"],
  ["initrd", "unpacking", "unpacked"],
  ["toUserSpace", "unpacked", "userSpace"],
];

/** Listens to the console of one guest. */
export class JumpWatch {
  readonly #seen = new Map<Sign, { ms: number; cpuMs: number }>();
  #emulator: number | undefined;

  /** For VmOptions.onConsole. */
  line(text: string): void {
    for (const name of Object.keys(signs) as Sign[])
      if (!this.#seen.has(name) && signs[name].test(text)) {
        this.#seen.set(name, { ms: performance.now(), cpuMs: this.#cpuMs() });
        return;
      }
  }

  /** Starts what leaves the kernel, and waits for the next user space. */
  async time(vm: Vm, command: string): Promise<Jump> {
    this.#seen.clear();
    await vm.start(command);
    await vm.waitForBoot({ timeoutMs: 900_000 });
    const at = (name: Sign) => {
      const moment = this.#seen.get(name);
      if (moment === undefined)
        throw new Error(`the console did not show “${name}”:\n${vm.console().slice(-4000)}`);
      return moment;
    };
    const span = (from: Sign, to: Sign): Span => ({
      ms: at(to).ms - at(from).ms,
      cpuMs: at(to).cpuMs - at(from).cpuMs,
    });
    return {
      downtime: span("leaving", "userSpace"),
      phases: Object.fromEntries(
        phaseSigns.map(([name, from, to]) => [name, span(from, to)]),
      ) as Jump["phases"],
    };
  }

  /** Processor time of the emulator so far; a busy machine does not change it. 0 where it is not found. */
  #cpuMs(): number {
    this.#emulator ??= emulatorBelow(process.pid);
    const fields = this.#emulator === undefined ? undefined : statOf(this.#emulator)?.fields;
    // utime and stime of proc(5), in hundredths of a second.
    return fields === undefined ? 0 : (Number(fields[11]) + Number(fields[12])) * 10;
  }
}

function statOf(pid: number): { name: string; fields: string[] } | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1");
    const end = text.lastIndexOf(")");
    return { name: text.slice(text.indexOf("(") + 1, end), fields: text.slice(end + 2).split(" ") };
  } catch {
    return undefined;
  }
}

/** The emulator among the descendants of a process. */
function emulatorBelow(ancestor: number): number | undefined {
  const isBelow = (pid: number): boolean => {
    const parent = Number(statOf(pid)?.fields[1] ?? 0);
    return parent === ancestor || (parent > 1 && isBelow(parent));
  };
  return readdirSync("/proc")
    .map(Number)
    .find((pid) => pid > 0 && statOf(pid)?.name.startsWith("qemu-system") && isBelow(pid));
}
