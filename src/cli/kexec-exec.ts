import type { Command } from "commander";
import type { Leaving } from "../kexec/exec.ts";
import { action, type CommandContext, examples } from "./context.ts";
import { parseSeconds } from "./seconds.ts";

export interface GoingOptions {
  now?: boolean;
  /** False with --no-hooks. */
  hooks: boolean;
  hookTimeout?: number;
}

/** Options of the way down, for every command that goes it. */
export function addGoingOptions(command: Command): Command {
  return command
    .option("--now", "do not stop services: jump at once")
    .option("--no-hooks", "do not run the programs in /etc/rekernel/kexec.d")
    .option("--hook-timeout <seconds>", "how long each of them may take (default: 300)", parseSeconds);
}

/** Told before anything is stopped: where no init system takes over, nothing can be told later. */
export function describeLeaving(context: CommandContext, { by }: Pick<Leaving, "by">, now: boolean): string {
  return by === "init"
    ? "systemd stops the services, then jumps into the loaded kernel."
    : context.style("bold", now ? "Jumping now." : "Ending all programs, then jumping.");
}

/** `rekernel kexec exec`: jump into the loaded kernel. */
export function registerKexecExec(parent: Command): void {
  const command = addGoingOptions(parent.command("exec"))
    .summary("start the loaded kernel")
    .description(
      "Start the loaded kernel, without firmware and boot loader. Under systemd all\n" +
        "services are stopped in order first (systemctl kexec). Elsewhere all programs\n" +
        "are asked to end, and file systems are unmounted or made read-only. With --now\n" +
        "file systems are written out and made read-only, and the jump happens at once.",
    )
    .option("--force", "the same as --now")
    .action(
      action<GoingOptions & { force?: boolean }, []>(async (context, options) => {
        const { execKexec } = await import("../kexec/exec.ts");
        const now = options.now === true || options.force === true;
        await execKexec({
          now,
          noHooks: !options.hooks,
          hookTimeoutMs: options.hookTimeout,
          onProgress: context.onProgress,
          signal: context.signal,
          onLeaving: (leaving) => {
            context.print(describeLeaving(context, leaving, now));
            context.result(leaving);
          },
        });
      }),
    );
  examples(command, "rekernel kexec exec", "rekernel kexec exec --now");
}
