import type { Command } from "commander";
import type { BootKernel, KernelChoice } from "../kexec/choice/boot-kernel.ts";
import { action, type CommandContext, examples } from "./context.ts";
import { printable } from "./printable.ts";

/** `rekernel kexec list`: what the machine could boot, and what a reboot would start. */
export function registerKexecList(parent: Command): void {
  const command = parent
    .command("list")
    .summary("show the kernels to boot, and which one a reboot would start")
    .description(
      "Show the kernels that this machine could boot, as its boot loader's configuration\n" +
        "has them (GRUB, Boot Loader Specification, or plain /boot), and which one a reboot\n" +
        "would start, with the reason. kexec load without an image takes that one.",
    )
    .option("--root <dir>", "look at the system below this folder", "/")
    .action(action<{ root: string }, []>((context, { root }) => listKernels(context, root)));
  examples(command, "sudo rekernel kexec list", "rekernel kexec list --root /mnt --json");
}

/** Shows all kernels, and the one that a reboot would start. */
export async function listKernels(context: CommandContext, root: string | undefined): Promise<void> {
  const { chooseKernel } = await import("../kexec/choice/choose.ts");
  const choice = await chooseKernel({ root });
  for (const [number, kernel] of choice.kernels.entries())
    context.print(describeKernel(context, kernel, number === choice.chosen));
  context.print(describeChoice(context, choice));
  context.result(choice);
}

/** What was chosen and why, with what is uncertain about it. */
export function describeChoice(
  context: CommandContext,
  { kernels, chosen, reason, notes }: KernelChoice,
): string {
  const { title } = kernels[chosen]!;
  return [
    `A reboot would start: ${context.style("green", printable(title))}`,
    `  ${printable(reason)}`,
    ...notes.map((note) => `${context.style("yellow", "note:")} ${printable(note)}`),
  ].join("\n");
}

const sources: Readonly<Record<BootKernel["source"], string>> = {
  grub: "GRUB's menu",
  entry: "boot entry",
  "unified-image": "unified kernel image",
  folder: "not in the boot loader's menu",
};

function describeKernel(context: CommandContext, kernel: BootKernel, isChosen: boolean): string {
  const { title, id, source, image, initrds, commandLine, triesLeft, triesDone, problem } = kernel;
  const rows: [string, string][] = [["id", `${id} (${sources[source]})`]];
  if (image !== undefined) rows.push(["kernel", image]);
  for (const initrd of initrds) rows.push(["initrd", initrd]);
  if (commandLine !== undefined) rows.push(["command line", commandLine === "" ? "(empty)" : commandLine]);
  if (triesLeft !== undefined)
    rows.push(["boots", triesLeft === 0 ? `bad: failed ${triesDone} times` : `${triesLeft} left to try`]);
  if (problem !== undefined) rows.push(["kexec", `cannot load it: ${problem}`]);
  const mark = isChosen ? context.style("green", "*") : " ";
  return [
    `${mark} ${context.style("bold", printable(title))}`,
    ...rows.map(([name, text]) => `    ${context.style("dim", name.padEnd(12))}  ${printable(text)}`),
  ].join("\n");
}
