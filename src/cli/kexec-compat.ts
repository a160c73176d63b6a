import type { Command } from "commander";
import packageJson from "../../package.json" with { type: "json" };
import type { CompatOutput, CompatResult } from "../kexec/compat/run.ts";
import { action, examples, runCommand } from "./context.ts";
import { renderReport, reportOf } from "./report.ts";

/** `rekernel kexec compat`: kexec-tools' command line. */
export function registerKexecCompat(parent: Command): void {
  parent.enablePositionalOptions();
  const command = parent
    .command("compat")
    .summary("take the options of kexec-tools")
    .description(
      "Take the options of kexec-tools' kexec (version 2.0.32, x86-64), with its exit\n" +
        "codes, so that scripts and units written for it go on working. The same happens\n" +
        "when rekernel is called as kexec, through a symbolic link of that name. The list\n" +
        "of options: rekernel kexec compat -- --help",
    )
    .argument("[words...]", "options as for kexec, and the kernel")
    .option("--json", "print one JSON document; has to stand before the options of kexec")
    .allowUnknownOption()
    .passThroughOptions()
    .action(
      action<object, [string[]]>(async (context, _options, words) => {
        const said: string[] = [];
        const output = context.json
          ? { out: (line: string) => said.push(line), error: (line: string) => said.push(line) }
          : streams;
        const result = await kexec(words, output, { signal: context.signal });
        context.result({ ...result, said });
        return result.exitCode;
      }),
    );
  examples(
    command,
    "rekernel kexec compat -l /boot/vmlinuz --initrd=/boot/initrd.img --reuse-cmdline",
    "ln -s /usr/local/bin/rekernel /usr/local/sbin/kexec && kexec -l /boot/vmlinuz",
  );
}

/** The whole program where it was called as `kexec`. */
export async function kexecFront(words: readonly string[]): Promise<void> {
  await runCommand(false, async ({ signal }) => (await kexec(words, streams, { signal })).exitCode);
}

const streams: CompatOutput = {
  out: (line) => void process.stdout.write(`${line}\n`),
  error: (line) => void process.stderr.write(`${line}\n`),
};

async function kexec(
  words: readonly string[],
  output: CompatOutput,
  options: { signal: AbortSignal },
): Promise<CompatResult> {
  const { compatCommand, compatExit } = await import("../kexec/compat/command.ts");
  const { compatVersion, compatUsage } = await import("./kexec-compat-usage.ts");
  const command = compatCommand(words);
  const version = compatVersion(packageJson.version);
  switch (command.kind) {
    case "help":
      output.out(compatUsage(version));
      return { exitCode: compatExit.done };
    case "version":
      output.out(version);
      return { exitCode: compatExit.done };
    case "refused":
      if (command.message !== "") output.error(command.message);
      if (command.usage) output.out(compatUsage(version));
      return { exitCode: command.exitCode };
    default: {
      const { runCompat } = await import("../kexec/compat/run.ts");
      try {
        return await runCompat(command, output, options);
      } catch (error) {
        options.signal.throwIfAborted();
        output.error(renderReport(reportOf(error), process.stderr).trimEnd());
        return { exitCode: compatExit.failed };
      }
    }
  }
}
