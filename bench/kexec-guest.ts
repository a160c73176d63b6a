/** One way out of a running kernel in a guest, timed by what its console prints. */
import { readdirSync, readFileSync } from "node:fs";
import type { Vm } from "../src/lab/vm.ts";
import { firstLine } from "./kexec-initrd.ts";

/** Moments of a jump, by what the console prints then. */
const signs = {
  /** The old user space gives up serving. */
  leaving: /bench: leaving|rekernel: going down for kexec/,
  /** kernel_kexec: devices are shut down. */
  jumping: /kexec_core: Starting new kernel|sysrq: Resetting/,
  userSpace: new RegExp(`^${firstLine}|\\] Run /init as init process`),
} as const;

/** The same in the next kernel's own log: its console may be quiet. */
const logSigns = {
  unpacking: /Trying to unpack rootfs image as initramfs|Unpacking initramfs/,
  unpacked: /Freeing initrd memory/,
  userSpace: /Run \/\S+ as init process/,
} as const;

type Sign = keyof typeof signs;

export interface Jump {
  downtimeMs: number;
  /** The emulator's processor time meanwhile, which a busy machine changes less. */
  cpuMs: number;
  /**
   * Of the downtime, in their order. `handOver`: copying, digests, what the image unpacks, and the next kernel's
   * first steps until its clock runs.
   */
  phasesMs: Record<"stop" | "handOver" | "kernel" | "initrd" | "toUserSpace", number>;
}

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
    const log = await vm.dmesg();
    const stampMs = (name: keyof typeof logSigns) => {
      const line = log.split("\n").find((text) => logSigns[name].test(text)) ?? "";
      return Number(/^\[ *(\d+\.\d+)\]/.exec(line)?.[1] ?? Number.NaN) * 1000;
    };
    const [leaving, jumping, userSpace] = [at("leaving"), at("jumping"), at("userSpace")];
    const clockStartMs = userSpace.ms - stampMs("userSpace");
    return {
      downtimeMs: userSpace.ms - leaving.ms,
      cpuMs: userSpace.cpuMs - leaving.cpuMs,
      phasesMs: {
        stop: jumping.ms - leaving.ms,
        handOver: clockStartMs - jumping.ms,
        kernel: stampMs("unpacking"),
        initrd: stampMs("unpacked") - stampMs("unpacking"),
        toUserSpace: stampMs("userSpace") - stampMs("unpacked"),
      },
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
