/** Real kexecs in a guest, with witnesses that another kernel runs. */
import { expect } from "vitest";
import type { KexecMethod } from "../../src/kexec/method.ts";
import type { Vm } from "../../src/lab/vm.ts";

/** The system call that loads. */
export type Call = KexecMethod;

export const calls: readonly Call[] = ["kexec_file_load", "kexec_load"];

const callOption: Readonly<Record<Call, string>> = { kexec_file_load: "-s", kexec_load: "-c" };

/** What a kernel says of itself once it is up. */
export interface Arrival {
  release: string;
  commandLine: string;
  /** Address of the kernel's first byte of code: where KASLR has put it. */
  text: string;
  memTotalKib: number;
  memAvailableKib: number;
  /** From the start of the jump to the first answer of the new user space. */
  elapsedMs: number;
}

let jumps = 0;

/**
 * Loads a kernel of /lab/kernels, jumps, and makes sure that it is the one that runs: a word on its command line
 * that no other jump had, another boot id, and an uptime that began with the jump.
 */
export async function kexecInto(
  vm: Vm,
  rekernel: string,
  release: string,
  call: Call,
  initrd = `/lab/kernels/${release}/initrd`,
): Promise<Arrival> {
  const folder = `/lab/kernels/${release}`;
  const word = `rekernel.jump=${++jumps}`;
  const line = `${(await vm.run(`cat ${folder}/cmdline`)).stdout.trim()} ${word}`;
  const words = [callOption[call], "-l", `${folder}/vmlinuz`, `--initrd=${initrd}`, `--append=${line}`];
  const loaded = await vm.run([rekernel, "kexec", "compat", ...words]);
  expect(loaded, `load ${release} (${call})`).toMatchObject({ exitCode: 0, stderr: "" });
  const bootId = vm.bootId();
  const startedMs = performance.now();
  await vm.start([rekernel, "kexec", "compat", "-e"]);
  await vm.waitForBoot();
  const uptime = Number((await vm.run("cut -d' ' -f1 /proc/uptime")).stdout);
  const elapsedMs = performance.now() - startedMs;
  expect(vm.bootId()).not.toBe(bootId);
  expect(vm.release()).toBe(release);
  expect(uptime).toBeLessThan(elapsedMs / 1000 + 2);
  const commandLine = (await vm.run("cat /proc/cmdline")).stdout.trim();
  expect(commandLine).toBe(line);
  const memory = (await vm.run("cat /proc/meminfo")).stdout;
  return {
    release,
    commandLine,
    text: (await vm.run("grep -m1 ' _text$' /proc/kallsyms")).stdout.split(" ")[0]!,
    memTotalKib: kibibytes(memory, "MemTotal"),
    memAvailableKib: kibibytes(memory, "MemAvailable"),
    elapsedMs,
  };
}

function kibibytes(meminfo: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(meminfo)?.[1]);
}

export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
