import type { Command } from "commander";
import type { KexecStatus } from "../kexec/status.ts";
import { action, examples } from "./context.ts";
import { printable } from "./printable.ts";

/** `rekernel kexec status`: what is loaded and what this machine allows. */
export function registerKexecStatus(parent: Command): void {
  const command = parent
    .command("status")
    .summary("show what is loaded and what this machine allows")
    .description("Show whether a kernel is loaded for kexec or for a crash, and what this machine allows.")
    .action(
      action(async (context) => {
        const { kexecStatus } = await import("../kexec/status.ts");
        const status = await kexecStatus();
        context.print(describe(status));
        context.result(status);
      }),
    );
  examples(command, "rekernel kexec status", "rekernel kexec status --json");
}

function describe(status: KexecStatus): string {
  const rows: [string, string][] = [["running kernel", status.running]];
  if (!status.supported) rows.push(["kexec", "not supported by the running kernel"]);
  else {
    rows.push(["next kernel", status.loaded === true ? "loaded" : "none loaded"]);
    rows.push(["crash kernel", crashText(status)]);
    rows.push(["loading", limitText(status)]);
    rows.push([
      "exec goes",
      status.execThrough === "systemd" ? "through systemd, which stops services" : "directly",
    ]);
  }
  rows.push(["lockdown", status.lockdown]);
  if (status.trial !== undefined) rows.push(["trial", trialText(status.trial)]);
  return rows.map(([name, text]) => `${name.padEnd(14)}  ${text}`).join("\n");
}

function trialText({ state, next, old, minutes, secondsLeft }: NonNullable<KexecStatus["trial"]>): string {
  const kernel = printable(next ?? "the next kernel");
  if (state === "armed")
    return `prepared: ${kernel} is to be confirmed within ${minutes} minutes of its boot`;
  if (state === "returned")
    return `over: ${kernel} was not confirmed (rekernel kexec confirm clears what is left)`;
  return `${kernel} is on trial: back to ${printable(old)} in ${secondsLeft} seconds, unless rekernel kexec confirm is run`;
}

function crashText({ crashLoaded, crashSizeBytes }: KexecStatus): string {
  const reserved =
    crashSizeBytes === undefined || crashSizeBytes === 0
      ? "no memory reserved"
      : `${(crashSizeBytes / 2 ** 20).toFixed(0)} MiB reserved`;
  return `${crashLoaded === true ? "loaded" : "none loaded"}, ${reserved}`;
}

function limitText({ loadDisabled, loadLimitReboot }: KexecStatus): string {
  if (loadDisabled === true) return "disabled until the next boot (kernel.kexec_load_disabled)";
  if (loadLimitReboot === undefined || loadLimitReboot < 0) return "allowed";
  return `allowed ${loadLimitReboot} more times (kernel.kexec_load_limit_reboot)`;
}
