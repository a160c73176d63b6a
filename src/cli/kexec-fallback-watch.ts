import type { Command } from "commander";
import { exitCode } from "../core/errors.ts";
import { action, examples } from "./context.ts";
import { printable } from "./printable.ts";

/** `rekernel kexec fallback-watch`: what runs at boot while a kernel is on trial. */
export function registerKexecFallbackWatch(parent: Command): void {
  const command = parent
    .command("fallback-watch")
    .summary("at boot: go back to the old kernel unless this one is confirmed")
    .description(
      "Wait until the kernel on trial is confirmed, and start the old one when its time\n" +
        "is over. Under systemd rekernel kexec --fallback makes a unit that runs this; else\n" +
        "have it started in the background at boot. In the old kernel it removes what is\n" +
        "left of the trial. Exits 3 when there is nothing to watch.",
    )
    .action(
      action(async (context) => {
        const { watchFallback } = await import("../kexec/fallback/trial.ts");
        const end = await watchFallback({ onProgress: context.onProgress, signal: context.signal });
        const old = printable(end.old ?? "");
        const texts = {
          nothing: "No kernel is on trial.",
          confirmed: "The kernel was confirmed.",
          returned: `The trial is over: this is not the kernel on trial (the old one is ${old}).`,
          returning: `Nobody confirmed this kernel: going back to ${old}.`,
        };
        context.print(texts[end.outcome]);
        context.result(end);
        return end.outcome === "nothing" ? exitCode.nothingToDo : exitCode.done;
      }),
    );
  examples(command, "rekernel kexec fallback-watch &");
}
