/** What a command line of kexec-tools asks for. Pure: kexec/kexec.c main() of version 2.0.32. */
import type { AddressRange } from "../../formats/memory-map.ts";
import type { KexecMethod } from "../method.ts";
import { getoptLong } from "./getopt.ts";
import { type ImageType, imageOptions, imageTypes, longOptions, shortOptions } from "./options.ts";

/** Exit codes of kexec-tools: functions' negative results as the shell sees them. */
export const compatExit = {
  done: 0,
  /** Wrong usage, and what it cannot go on with (die). */
  died: 1,
  /** EFAILED, -1 */
  failed: 255,
  /** ENOCRASHKERNEL, -2 */
  noCrashKernel: 254,
  /** EFALLBACK, -3: kexec_file_load cannot do it, and nothing else was allowed. */
  noFallback: 253,
} as const;

/** The image to load, and how. */
export interface CompatLoad {
  /** Undefined where none was named. */
  kernel: string | undefined;
  type: ImageType | undefined;
  /** `auto`: kexec_file_load, and kexec_load where the kernel does not know the call or the image. */
  call: "auto" | KexecMethod;
  /** For a panic. */
  crash: boolean;
  reuseCommandLine: boolean;
  /** `--append` and `--command-line` are one option: the last counts. */
  append: string | undefined;
  initrd: string | undefined;
  /** Use the initrd of this boot again. */
  reuseInitrd: boolean;
  /** `FILE arguments…` each, for multiboot. */
  modules: readonly string[];
  entry32: boolean;
  /** Addresses for segments of kexec_load; undefined: all. */
  within: AddressRange | undefined;
  /** Port for the purgatory's words; undefined: it is silent. */
  serialPort: number | undefined;
  /** Do without digests. */
  noChecks: boolean;
  /** The firmware is to be taken for a BIOS. */
  noEfi: boolean;
}

/** What is to be done, in this order. */
export interface CompatWork {
  unload: "next" | "crash" | undefined;
  load: CompatLoad | undefined;
  shutdown: boolean;
  sync: boolean;
  interfacesDown: boolean;
  exec: boolean;
  debug: boolean;
  /** Options that do nothing here, in full sentences. */
  notes: readonly string[];
}

export type CompatCommand =
  | { kind: "help" }
  | { kind: "version" }
  | { kind: "crash-size" }
  | { kind: "status"; of: "next" | "crash" }
  | { kind: "work"; work: CompatWork }
  | { kind: "refused"; message: string; exitCode: number; usage: boolean };

const highest = (1n << 64n) - 1n;

/**
 * Reads the words behind the program's name. Like kexec-tools it acts on the options in their order: of `-l`,
 * `-e`, `-f` and `-p` the last decides.
 */
export function compatCommand(words: readonly string[]): CompatCommand {
  const asked = readOptions(words);
  if ("kind" in asked) return asked;
  const { seen, operands, mode } = asked;
  const has = (key: string) => seen.has(key);
  const last = (key: string) => seen.get(key)?.at(-1);

  if (has("S"))
    return (
      misplaced(seen) ?? { kind: "status", of: mode.flags !== "none" || has("l") ? statusOf(mode) : "crash" }
    );
  if (mode.load && mode.flags === "preserve" && last("mem-max") === undefined)
    return refused(
      "Please specify memory range used by kexeced kernel\nto preserve the context of original kernel with \n" +
        '"--mem-max" parameter',
      compatExit.died,
    );
  if (mode.load && mode.flags === "live-update")
    return refused("--load-live-update can only be used with xen", compatExit.died);
  const serial = serialOf(last("serial"), last("serial-baud"));
  if (typeof serial === "string") return refused(serial, compatExit.failed, true);
  if (!mode.load) {
    const wrong = misplaced(seen);
    if (wrong !== undefined) return wrong;
  }
  if (mode.flags === "preserve")
    return refused(
      mode.jumpBack
        ? "--load-jump-back-helper: rekernel cannot jump back to a kernel."
        : "--load-preserve-context: rekernel cannot preserve the running kernel.",
      mode.jumpBack ? compatExit.failed : compatExit.died,
    );
  // For a crash kernel kexec-tools first wants memory reserved, which only the machine can tell.
  if (mode.load && operands.length === 0 && mode.flags !== "crash")
    return refused("No kernel specified", compatExit.failed, true);
  const impossible = mode.load ? cannotLoad(seen) : undefined;
  if (impossible !== undefined) return refused(impossible, compatExit.failed);
  const crash = has("p");
  return {
    kind: "work",
    work: {
      unload: mode.unload ? (crash ? "crash" : "next") : undefined,
      load: mode.load
        ? {
            kernel: operands[0],
            type: imageTypes.find((type) => type === last("t")),
            call: mode.call,
            crash,
            reuseCommandLine: has("reuse-cmdline"),
            append: last("append"),
            initrd: last("initrd"),
            reuseInitrd: has("reuseinitrd"),
            modules: seen.get("module") ?? [],
            entry32: has("entry-32bit"),
            within: boundsOf(last("mem-min"), last("mem-max")),
            serialPort: has("console-serial") ? serial.port : undefined,
            noChecks: has("i"),
            noEfi: has("noefi"),
          }
        : undefined,
      shutdown: mode.shutdown,
      sync: mode.sync && !has("y"),
      interfacesDown: mode.interfacesDown && !has("x"),
      exec: mode.exec,
      debug: has("d"),
      notes: mode.load ? notesOn(seen, operands) : [],
    },
  };
}

/** What the options in their order have switched on: the variables of kexec.c main(). */
interface Mode {
  load: boolean;
  unload: boolean;
  exec: boolean;
  shutdown: boolean;
  sync: boolean;
  interfacesDown: boolean;
  jumpBack: boolean;
  flags: "none" | "crash" | "preserve" | "live-update";
  call: CompatLoad["call"];
}

interface Asked {
  /** Values by key, in their order; an option without value stands with an empty one. */
  seen: Map<string, string[]>;
  operands: string[];
  mode: Mode;
}

const switches: Readonly<Record<string, Partial<Mode>>> = {
  f: { load: true, shutdown: false, sync: true, interfacesDown: true, exec: true },
  l: { load: true, exec: false, shutdown: false },
  u: { load: false, shutdown: false, sync: false, unload: true },
  e: { load: false, shutdown: false, sync: true, interfacesDown: true, exec: true },
  p: { load: true, exec: false, shutdown: false, sync: false, flags: "crash" },
  s: { call: "kexec_file_load" },
  c: { call: "kexec_load" },
  a: { call: "auto" },
  "load-preserve-context": { load: true, exec: false, shutdown: false, sync: true, flags: "preserve" },
  "load-live-update": { load: true, exec: false, shutdown: false, sync: true, flags: "live-update" },
  "load-jump-back-helper": {
    load: false,
    shutdown: false,
    sync: true,
    interfacesDown: true,
    exec: false,
    jumpBack: true,
    flags: "preserve",
  },
};

function readOptions(words: readonly string[]): Asked | CompatCommand {
  const mode: Mode = {
    load: true,
    unload: false,
    exec: false,
    shutdown: true,
    sync: true,
    interfacesDown: false,
    jumpBack: false,
    flags: "none",
    call: "auto",
  };
  const seen = new Map<string, string[]>();
  const operands: string[] = [];
  for (const word of getoptLong(words, shortOptions, longOptions)) {
    if (word.kind === "operand") {
      operands.push(word.text);
      continue;
    }
    if (word.kind === "error") return refused(`kexec: ${word.message}`, compatExit.died, true);
    const { key, value = "" } = word;
    if (key === "?") return refused("", compatExit.died, true);
    if (key === "h") return { kind: "help" };
    if (key === "v") return { kind: "version" };
    if (key === "print-ckr-size") return { kind: "crash-size" };
    if (key === "exec-live-update")
      return refused("--exec-live-update only works under xen.", compatExit.died);
    if (numeric.has(key) && parseUnsigned(value) === undefined)
      return refused(`Bad option value in --${key}=${value}`, compatExit.died, true);
    Object.assign(mode, switches[key] ?? {});
    seen.set(key, [...(seen.get(key) ?? []), value]);
  }
  return { seen, operands, mode };
}

const numeric: ReadonlySet<string> = new Set(["entry", "mem-min", "mem-max"]);

/** As strtoul(3) with base 0 reads a text that has to be a number from end to end; an empty one is 0. */
export function parseUnsigned(text: string): bigint | undefined {
  const match = /^(?:\s*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*))?$/.exec(text);
  if (match === null) return undefined;
  const [, sign, digits = "0"] = match;
  const value = BigInt(/^0[0-7]/.test(digits) ? `0o${digits.slice(1)}` : digits);
  const limited = value > highest ? highest : value;
  return sign === "-" && limited !== highest ? BigInt.asUintN(64, -limited) : limited;
}

function boundsOf(lowest: string | undefined, last: string | undefined): AddressRange | undefined {
  if (lowest === undefined && last === undefined) return undefined;
  return {
    start: parseUnsigned(lowest ?? "0")!,
    end: (last === undefined ? highest : parseUnsigned(last)!) + 1n,
  };
}

/** kexec/arch/i386/kexec-x86-common.c arch_process_options. */
function serialOf(port = "ttyS0", baud = "9600"): { port: number } | string {
  const named: Readonly<Record<string, bigint>> = { ttyS0: 0x3f8n, ttyS1: 0x2f8n };
  const address = named[port] ?? (/^0x[0-9a-fA-F]*$/.test(port) ? BigInt(port === "0x" ? 0 : port) : highest);
  if (address > 0xffffn) return `Bad serial port base '${port}'`;
  const rate = parseUnsigned(baud);
  if (rate === undefined || rate > 115200n || rate < 9600n || 115200n % rate !== 0n)
    return `Bad serial port baud rate '${baud}'`;
  return { port: Number(address) };
}

function refused(message: string, exitCode: number, usage = false): CompatCommand {
  return { kind: "refused", message, exitCode, usage };
}

function misplaced(seen: ReadonlyMap<string, unknown>): CompatCommand | undefined {
  for (const key of seen.keys()) if (imageOptions.has(key)) return refused("", compatExit.died, true);
  return undefined;
}

function statusOf({ flags }: Mode): "next" | "crash" {
  return flags === "crash" ? "crash" : "next";
}

/** What would start another kernel than was asked for, or the same in a way that was not. */
function cannotLoad(seen: ReadonlyMap<string, readonly string[]>): string | undefined {
  const type = seen.get("t")?.at(-1);
  if (type !== undefined && !imageTypes.some((known) => known === type))
    return `Unsupported kernel type ${type}`;
  if (type === "beoboot-x86" || type === "nbi-x86")
    return `--type=${type}: rekernel does not load this type.`;
  const entry = seen.get("entry")?.at(-1);
  if (entry !== undefined && parseUnsigned(entry) !== 0n)
    return "--entry: rekernel cannot jump back to a kernel; the entry is the image's own.";
  if (seen.has("real-mode"))
    return "--real-mode: rekernel does not start a kernel in real mode; it fills in what the BIOS calls would tell.";
  if (seen.has("args-elf"))
    return "--args-elf: rekernel passes boot_params, as Linux wants, and no ELF notes.";
  if (seen.has("args-none")) return "--args-none: rekernel passes boot_params, as Linux wants.";
  if (seen.has("dtb")) return "--dtb: rekernel does not pass a device tree.";
  return undefined;
}

/** Why an option that is taken does nothing. */
const withoutEffect: Readonly<Record<string, string>> = {
  "reset-vga": "--reset-vga does nothing: the next kernel sets its console up by itself.",
  "console-vga": "--console-vga does nothing: the purgatory speaks on a serial line only.",
  "pass-memmap-cmdline": "--pass-memmap-cmdline does nothing: it is for crash kernels.",
  "elf32-core-headers": "--elf32-core-headers does nothing: it is for crash kernels.",
  "elf64-core-headers": "--elf64-core-headers does nothing: it is for crash kernels.",
  hotplug: "--hotplug does nothing: it is for crash kernels.",
  "no-cma": "--no-cma does nothing: it is for crash kernels.",
  "force-dtb": "--force-dtb does nothing on x86-64.",
  "reuse-video-type": "--reuse-video-type does nothing: the screen's state is always handed on.",
};

/** The kernel's own kexec_file_load places by itself, and tells what it knows. */
const onlySegments = ["mem-min", "mem-max", "noefi", "console-serial"] as const;

function notesOn(seen: ReadonlyMap<string, readonly string[]>, operands: readonly string[]): string[] {
  const notes = [...seen.keys()].flatMap((key) => withoutEffect[key] ?? []);
  if ((seen.get("initrd")?.length ?? 0) > 1) notes.push("Of several --initrd the last counts.");
  if ((seen.get("append")?.length ?? 0) > 1)
    notes.push("Of several --append or --command-line the last counts.");
  for (const key of onlySegments)
    if (seen.has(key) && !seen.has("c")) notes.push(`--${key} counts with kexec_load only (-c).`);
  if (operands.length > 1)
    notes.push(`Ignored: ${operands.slice(1).join(" ")}. Only one kernel can be loaded.`);
  return notes;
}
