/** The command line for the next kernel. Pure. */

export interface CommandLineChoice {
  /** The whole line. */
  commandLine?: string | undefined;
  /** Take the running kernel's line as the base. */
  reuse?: boolean | undefined;
  /** Words added at the end. */
  append?: string | undefined;
}

/** Words that a boot loader adds about its own work: untrue for the next kernel. */
const loaderWord = /^(BOOT_IMAGE|initrd)=/;

/**
 * Splits a command line at white space as the kernel's parser does: double quotes hold white space together
 * (lib/cmdline.c next_arg).
 */
export function splitCommandLine(line: string): string[] {
  return line.match(/(?:[^\s"]|"[^"]*"?)+/g) ?? [];
}

/** The running kernel's line without what its boot loader added (`BOOT_IMAGE=`, `initrd=`). */
export function reusableCommandLine(running: string): string {
  return splitCommandLine(running)
    .filter((word) => !loaderWord.test(word))
    .join(" ");
}

/** Puts the parts together; an empty line where nothing was chosen. */
export function nextCommandLine(choice: CommandLineChoice, running: string): string {
  const base = choice.commandLine ?? (choice.reuse === true ? reusableCommandLine(running) : "");
  return [base.trim(), choice.append?.trim() ?? ""].filter((part) => part !== "").join(" ");
}
