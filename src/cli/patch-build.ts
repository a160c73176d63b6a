import { type Command, Option } from "commander";
import { RekernelError } from "../core/errors.ts";
import type { TargetKernel } from "../kernel/target.ts";
import type { PatchTrial } from "../lab/patch-trial.ts";
import type { BuildReport } from "../livepatch/build/build.ts";
import { action, type CommandContext, examples } from "./context.ts";

interface BuildCommandOptions {
  kernel?: string;
  image?: string;
  config?: string;
  source?: string;
  symvers?: string;
  modules?: string;
  output?: string;
  name?: string;
  replace?: boolean;
  verify?: boolean;
  moduleSource?: string[];
  module?: string[];
  moduleMake?: string[];
}

/** `rekernel patch build`: make a live patch module from a source patch. */
export function registerPatchBuild(parent: Command): void {
  const command = parent
    .command("build")
    .summary("make a live patch from a source patch")
    .description(
      "Make a live patch module from a source patch, for one exact kernel.\n" +
        "Only what the patch touches is compiled, twice: with and without it. Every\n" +
        "function that will be replaced is compared byte for byte with the kernel's own.",
    )
    .argument("<patch...>", "unified diffs against the kernel's source, or an out-of-tree module's")
    .option("--kernel <release>", "the kernel to patch, as uname -r says it (default: the running one)")
    .option("-o, --output <file>", "where the module goes (default: NAME.ko in this folder)")
    .option("--name <name>", "the module's name (default: livepatch_ and the patch's name)")
    .option("--replace", "take the place of all live patches that are loaded before")
    .option("--module-source <folder>", "source of an out-of-tree module; may be repeated", collect)
    .option("--module <file>", "that module as the target loads it (default: found)", collect)
    .option("--module-make <assignment>", "variable for its makefiles, as CONFIG_X=m", collect)
    .option("--verify", "try it in a VM of that kernel: load, take back, load again, read the log")
    .addOption(new Option("--image <file>", "by hand, instead of --kernel: vmlinuz or vmlinux"))
    .addOption(new Option("--config <file>", "by hand: the kernel's configuration"))
    .addOption(new Option("--source <folder>", "by hand: the kernel's source, a folder or a tarball"))
    .addOption(new Option("--symvers <file>", "by hand: Module.symvers of the kernel's build"))
    .addOption(new Option("--modules <folder>", "by hand: lib/modules/RELEASE with the modules"))
    .action(
      action<BuildCommandOptions, [string[]]>(async (context, options, paths) => {
        const { buildLivePatch } = await import("../livepatch/build/build.ts");
        const { parsePatch } = await import("../livepatch/build/source/patch.ts");
        const { readInputFile } = await import("../kernel/input-file.ts");
        const patches = [];
        for (const path of paths) patches.push(parsePatch(await readInputFile(path, "patch"), path));
        const target = await chosenTarget(options, context);
        const report = await buildLivePatch({
          target,
          patches,
          name: options.name,
          output: options.output,
          replace: options.replace,
          moduleSources: options.moduleSource,
          moduleFiles: options.module,
          moduleMake: options.moduleMake,
          onProgress: context.onProgress,
          signal: context.signal,
        });
        const trial = options.verify === true ? await verify(report, target, context) : undefined;
        context.print(buildReportText(report, trial, context));
        context.result({ ...report, ...(trial === undefined ? {} : { trial }) });
      }),
    );
  examples(
    command,
    "rekernel patch build fix.patch --verify",
    "rekernel patch build fix.patch --kernel 6.12.115+deb12-amd64 -o fix.ko",
    "rekernel patch build fix.patch --module-source /usr/src/gadget-1.0",
  );
}

function collect(value: string, previous: string[] = []): string[] {
  return [...previous, value];
}

function buildReportText(
  report: BuildReport,
  trial: PatchTrial | undefined,
  { style }: CommandContext,
): string {
  const { functions, included, match, timesMs, audit } = report;
  const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;
  const list = functions.map(
    ({ name, object, source, reason, sizeBytes, newSizeBytes }) =>
      `  ${style("bold", name)}${object === "vmlinux" ? "" : ` [${object}]`}  ${sizeBytes} -> ${newSizeBytes} bytes\n    ${source}: ${reason}`,
  );
  const added = included
    .filter(({ kind, name }) => kind !== "constant" && !name.startsWith("."))
    .map(({ name, kind, sizeBytes, reason }) => `  ${name}  ${kind}, ${sizeBytes} bytes\n    ${reason}`);
  return [
    `${style("green", report.output)} is a live patch for ${report.release}, ${report.sizeBytes} bytes.`,
    "",
    functions.length === 0
      ? "It replaces no function."
      : `It replaces ${count(functions.length, "function")}, each byte for byte the kernel's own before:`,
    ...list,
    ...(added.length > 0 ? ["", "It brings along:", ...added] : []),
    "",
    `Match   ${match.identicalFunctions} of ${match.comparedFunctions} functions of the touched units are the kernel's own`,
    `Audit   ${count(audit.importedSymbols, "exported symbol")}, ${count(audit.klpSymbols, "symbol")} bound by livepatch, all in the target`,
    ...(trial ? trialLines(report, trial) : []),
    ...cautionLines(report.cautions, style),
    ...report.notBuilt.map((source) => `Not in this kernel: ${source}`),
    ...report.warnings.map((warning) => `Warning ${warning}`),
    `Time    ${seconds(timesMs.total)}: compiler ${seconds(timesMs.compile)}, kbuild ${seconds(timesMs.link)}, source tree ${seconds(timesMs.trees)}, rekernel ${seconds(timesMs.own)}`,
    "",
    `Load it on that kernel, as root: rekernel patch load ${report.output}`,
  ].join("\n");
}

function trialLines({ objects }: BuildReport, { targetsLoaded }: PatchTrial): string[] {
  const without = objects.filter((object) => object !== "vmlinux" && !targetsLoaded.includes(object));
  return [
    "Trial   in a VM of that kernel: loaded twice, taken back twice, no warning in the log",
    ...(without.length > 0
      ? [`        without ${without.join(", ")}, not loaded there: what it replaces in them was not tried`]
      : []),
  ];
}

/** With a blank line around the list, where there is any. */
export function cautionLines(cautions: BuildReport["cautions"], style: CommandContext["style"]): string[] {
  if (cautions.length === 0) return [];
  return [
    "",
    "For you to judge:",
    ...cautions.flatMap(({ code, message, hint, source }) => [
      `  ${source === undefined || message.includes(source) ? "" : `${source}: `}${message}`,
      `${indented(hint)} ${style("dim", `[${code}]`)}`,
    ]),
    "",
  ];
}

/** What can be done about a finding, below it. */
export function indented(hint: string): string {
  return hint.trimEnd().replace(/^(?=.)/gm, "    ");
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

/** A module that does not stand the trial is not kept. */
async function verify(report: BuildReport, target: TargetKernel, context: CommandContext) {
  const { verifyPatch } = await import("../lab/patch-trial.ts");
  const { rm } = await import("node:fs/promises");
  const targets = report.objects.filter((object) => object !== "vmlinux");
  try {
    return await verifyPatch(
      target,
      { name: report.name, path: report.output, targets, foreign: report.moduleFiles },
      { onProgress: context.onProgress, signal: context.signal },
    );
  } catch (error) {
    await rm(report.output, { force: true });
    throw error;
  }
}

async function chosenTarget(options: BuildCommandOptions, context: CommandContext): Promise<TargetKernel> {
  const { targetFromPaths, targetKernel } = await import("../kernel/target.ts");
  const byHand = {
    image: options.image,
    config: options.config,
    source: options.source,
    symvers: options.symvers,
  };
  const given = Object.entries(byHand).filter(([, value]) => value !== undefined);
  if (given.length === 0 && options.modules === undefined) {
    const { release } = await import("node:os");
    return targetKernel(options.kernel ?? release(), {
      onProgress: context.onProgress,
      signal: context.signal,
    });
  }
  const { image, config, source, symvers } = byHand;
  if (options.kernel !== undefined || !image || !config || !source || !symvers)
    throw new RekernelError(
      "usage",
      "RK-USAGE",
      "A kernel given by hand needs --image, --config, --source and --symvers, and no --kernel.",
      {
        hint: "Or give --kernel RELEASE alone: everything else comes from the distribution's packages.",
      },
    );
  return targetFromPaths({ image, config, source, symvers, modules: options.modules });
}
