import { type Command, InvalidArgumentError, Option } from "commander";
import { RekernelError } from "../core/errors.ts";
import type { Firmware } from "../lab/firmware.ts";
import { action, examples } from "./context.ts";

interface RunOptions {
  kernel?: string;
  image?: string;
  modules?: string;
  firmware: Firmware;
  memory: number;
  append?: string;
  module: string[];
  file: Record<string, string>;
  hostRoot: boolean;
  share?: string;
  network?: boolean;
  timeout?: number;
  dmesg?: boolean;
}

/** `rekernel lab run`: one command in a virtual machine of a given kernel. */
export function registerLabRun(parent: Command): void {
  const command = parent
    .command("run")
    .summary("run a command in a virtual machine of a given kernel")
    .description(
      "Boot a kernel in a virtual machine, run one command there as root, and end it.\n" +
        "The command sees this machine's files; what it writes is gone afterwards, except\n" +
        "in /share. It starts in the current folder. Nothing of this machine is changed,\n" +
        "and no root is needed. The exit code is 0 if the command's was, else 1; a crash\n" +
        "of the kernel is reported with its trace.",
    )
    .argument("<command...>", "the program and its arguments, after --")
    .addOption(
      new Option(
        "--kernel <release>",
        "a kernel of the distribution's packages, as uname -r says it",
      ).conflicts("image"),
    )
    .option("--image <file>", "another kernel (vmlinuz)")
    .option("--modules <folder>", "its lib/modules/RELEASE, with --image")
    .addOption(
      new Option("--firmware <kind>", "what starts the kernel")
        .choices(["bios", "uefi", "uefi-secure-boot"] satisfies Firmware[])
        .default("bios"),
    )
    .option("--memory <MiB>", "memory of the machine", positiveInteger, 1024)
    .option("--append <text>", "add words to the kernel's command line")
    .option("--module <name>", "load a kernel module at boot (repeatable)", collect, [])
    .option("--file <guest=host>", "put a file or folder into the guest (repeatable)", collectFile, {})
    .option("--no-host-root", "only busybox and what --file adds, not this machine's files")
    .option("--share <folder>", "show this folder, writable, at /share in the guest")
    .option("--network", "give the guest a network card and a way out")
    .option("--timeout <seconds>", "end the command after this long", positiveInteger)
    .option("--dmesg", "print the kernel's messages on standard error at the end")
    .action(
      action<RunOptions, [string[]]>(async (context, options, words) => {
        const { runInLab } = await import("../lab/run.ts");
        const { onProgress, signal } = context;
        const kernel = await chosenKernel(options, { onProgress, signal });
        const result = await runInLab(
          {
            kernel,
            command: words,
            // A guest without the host's files has no such folder.
            cwd: options.hostRoot ? process.cwd() : undefined,
            firmware: options.firmware,
            memoryMiB: options.memory,
            commandLine: options.append,
            modules: options.module,
            files: options.file,
            hostRoot: options.hostRoot,
            share: options.share,
            network: options.network,
            timeoutMs: options.timeout === undefined ? undefined : options.timeout * 1000,
            dmesg: options.dmesg,
            onStdout: context.json ? undefined : (data) => process.stdout.write(data),
            onStderr: context.json ? undefined : (data) => process.stderr.write(data),
          },
          { onProgress, signal },
        );
        context.result(result);
        if (!context.json) {
          if (result.dmesg !== undefined) process.stderr.write(result.dmesg);
          if (result.exitCode !== 0)
            process.stderr.write(
              `rekernel: the command ended with exit code ${result.exitCode} in the guest.\n`,
            );
        }
        return result.exitCode === 0 ? 0 : 1;
      }),
    );
  examples(
    command,
    "rekernel lab run --kernel 6.12.117+deb12-amd64 -- uname -a",
    "rekernel lab run --kernel 6.1.0-56-amd64 --share . -- sh -c 'insmod /share/fix.ko && dmesg | tail'",
  );
}

async function chosenKernel(
  options: RunOptions,
  work: import("../core/progress.ts").WorkOptions,
): Promise<import("../lab/vm.ts").LabKernel> {
  if (options.kernel !== undefined) {
    if (options.modules !== undefined)
      throw new RekernelError("usage", "RK-USAGE", "--modules goes with --image: --kernel brings its own.");
    const { bootableKernel } = await import("../kernel/target.ts");
    return bootableKernel(options.kernel, work);
  }
  if (options.image === undefined)
    throw new RekernelError("usage", "RK-USAGE", "Which kernel? Give --kernel or --image.", {
      hint: `For this machine's own: --kernel ${(await import("node:os")).release()}`,
    });
  const { KernelImage } = await import("../kernel/image.ts");
  const { release } = await KernelImage.open(options.image);
  return { release, image: options.image, modules: options.modules };
}

function collect(value: string, before: string[]): string[] {
  return [...before, value];
}

function collectFile(value: string, before: Record<string, string>): Record<string, string> {
  const at = value.indexOf("=");
  if (!value.startsWith("/") || at < 2 || at === value.length - 1)
    throw new InvalidArgumentError("It must be GUEST=HOST, such as /opt/tool=./tool.");
  return { ...before, [value.slice(0, at)]: value.slice(at + 1) };
}

function positiveInteger(value: string): number {
  if (!/^[1-9]\d{0,8}$/.test(value)) throw new InvalidArgumentError("It must be a whole number above 0.");
  return Number(value);
}
