import type { Command } from "commander";
import { action, examples } from "./context.ts";

/** `rekernel kexec exec`: jump into the loaded kernel. */
export function registerKexecExec(parent: Command): void {
  const command = parent
    .command("exec")
    .summary("start the loaded kernel")
    .description(
      "Start the loaded kernel, without firmware and boot loader. Under systemd all\n" +
        "services are stopped first (systemctl kexec). Elsewhere, or with --now, file\n" +
        "systems are written out and made read-only, and the jump happens at once.",
    )
    .option("--now", "do not stop services: jump at once")
    .option("--force", "the same as --now")
    .action(
      action<{ now?: boolean; force?: boolean }, []>(async (context, options) => {
        const { execKexec } = await import("../kexec/exec.ts");
        const started = await execKexec({
          now: options.now === true || options.force === true,
          onProgress: context.onProgress,
          signal: context.signal,
        });
        context.print("systemd is stopping the services, then jumps into the loaded kernel.");
        context.result(started);
      }),
    );
  examples(command, "rekernel kexec exec", "rekernel kexec exec --now");
}
