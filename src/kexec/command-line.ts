/** The command line for the next kernel. Pure. */
import { RekernelError } from "../core/errors.ts";

export interface CommandLineChoice {
  /** The whole line. */
  commandLine?: string | undefined;
  /** Who wrote `commandLine`, where that was not the user. */
  writtenBy?: "boot-loader" | "running" | undefined;
  /** Take the running kernel's line as the base. */
  reuse?: boolean | undefined;
  /** Words added at the end. */
  append?: string | undefined;
}

/** Words that a boot loader adds about its own work, and the mark of a kernel on trial: untrue for the next kernel. */
const loaderWord = /^(BOOT_IMAGE|initrd|rekernel\.trial)=/;

/**
 * Splits a command line at white space as the kernel's parser does: double quotes hold white space together
 * (lib/cmdline.c next_arg).
 */
export function splitCommandLine(line: string): string[] {
  return line.match(/(?:[^\s"]|"[^"]*"?)+/g) ?? [];
}

/** The running kernel's line without what its boot loader added (`BOOT_IMAGE=`, `initrd=`) or a trial. */
export function reusableCommandLine(running: string): string {
  return splitCommandLine(running)
    .filter((word) => !loaderWord.test(word))
    .join(" ");
}

/**
 * Where a line comes from: given whole, the boot loader's configuration, the running kernel, the image (.cmdline),
 * or none was chosen.
 */
export type CommandLineOrigin = "given" | "boot-loader" | "running" | "image" | "none";

/** @param ofImage the line that the image itself brings: it counts where no other is chosen */
export function commandLineOrigin(choice: CommandLineChoice, ofImage?: string): CommandLineOrigin {
  if (choice.commandLine !== undefined) return choice.writtenBy ?? "given";
  if (choice.reuse === true) return "running";
  return ofImage === undefined ? "none" : "image";
}

/** Puts the parts together; an empty line where nothing was chosen. */
export function nextCommandLine(choice: CommandLineChoice, running: string, ofImage?: string): string {
  const base = choice.commandLine ?? (choice.reuse === true ? reusableCommandLine(running) : (ofImage ?? ""));
  return [base.trim(), choice.append?.trim() ?? ""].filter((part) => part !== "").join(" ");
}

/** Words as the kernel's early code sees them, which knows no quotes (arch/x86/boot/cmdline.c). */
export function earlyWords(line: string): string[] {
  return line.split(/\s+/);
}

/** COMMAND_LINE_SIZE of arch/x86/include/asm/setup.h, for images that do not tell their own. */
const defaultCommandLineLimit = 2048;

/**
 * @param limit with the NUL, by the image's boot header
 * @param image what it is called in messages
 * @throws RekernelError RK-COMMAND-LINE-TOO-LONG (4), RK-USAGE (2) for a NUL byte in it
 */
export function checkCommandLine(commandLine: string, limit = defaultCommandLineLimit, image: string): void {
  const bytes = Buffer.byteLength(commandLine) + 1;
  if (bytes > limit)
    throw new RekernelError(
      "refused",
      "RK-COMMAND-LINE-TOO-LONG",
      `The command line takes ${bytes} bytes, but ${image} accepts ${limit} at most.`,
      { hint: "The kernel would cut it off. Leave out what the next kernel does not need." },
    );
  if (commandLine.includes("\0"))
    throw new RekernelError("usage", "RK-USAGE", "The command line holds a NUL byte.");
}
