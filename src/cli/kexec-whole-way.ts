import { join } from "node:path";
import { createInterface } from "node:readline/promises";
import { isSea } from "node:sea";
import type { Command } from "commander";
import { exitCode, RekernelError } from "../core/errors.ts";
import type { WholeWayReport } from "../documents/kexec.ts";
import type { ArmedFallback } from "../kexec/fallback/arm.ts";
import type { WholeWayOptions } from "../kexec/whole-way.ts";
import { action, type CommandContext, examples } from "./context.ts";
import { addGoingOptions, describeLeaving, type GoingOptions } from "./kexec-exec.ts";
import { describeChoice, listKernels } from "./kexec-list.ts";
import { describeKexecPlan } from "./kexec-plan.ts";
import { describePreflight, describeQuieted, unbindText } from "./kexec-preflight.ts";
import { addRequestOptions, inOrder, type RequestOptions, requestOf } from "./kexec-request.ts";
import { printable } from "./printable.ts";
import { parseMinutes } from "./seconds.ts";

interface Options extends RequestOptions, GoingOptions {
  list?: boolean;
  dryRun?: boolean;
  quiesce?: boolean;
  yes?: boolean;
  fallback?: number;
  unbind?: string[];
  ignore?: string[];
}

/** `rekernel kexec [IMAGE]`, without a subcommand: the whole way into the next kernel. */
export function registerKexecWholeWay(group: Command): void {
  addGoingOptions(addRequestOptions(group))
    .description(
      "Start another kernel without firmware or boot loader.\n\n" +
        "Without a command it goes the whole way: takes the kernel that a reboot would\n" +
        "start, or the image that is named; shows what it would load and what the jump\n" +
        "may cost (preflight); stops with exit code 4 where something blocks; loads; and\n" +
        "goes down into it, under systemd with all services stopped in order. On a\n" +
        "terminal it asks before it does anything.",
    )
    .option("--list", "show the kernels to boot, and do nothing: rekernel kexec list")
    .option("--dry-run", "show everything and do nothing; needs no root")
    .option("--yes", "do not ask")
    .option("--quiesce", "first do what can be done about preflight's findings")
    .option(
      "--fallback <minutes>",
      "come back with this kernel unless rekernel kexec confirm is run so many minutes after the boot",
      parseMinutes,
    )
    .option("--unbind <address>", `${unbindText}; implies --quiesce`, inOrder)
    .option("--ignore <check>", "go on though this check blocks; can be repeated", inOrder)
    .enablePositionalOptions()
    .action(
      action<Options, [string | undefined]>(async (context, options, image) => {
        await requireNoTypo(image, group);
        if (options.list !== true) return goWholeWay(context, options, image);
        await listKernels(context, options.root);
        return exitCode.done;
      }),
    )
    .hook("preSubcommand", (_group, command) => {
      const [first] = group.options.filter((option) => {
        const source = group.getOptionValueSource(option.attributeName());
        return source !== undefined && source !== "default";
      });
      if (first !== undefined)
        throw new RekernelError(
          "usage",
          "RK-USAGE",
          `${first.long} stands before the command ${command.name()}.`,
          {
            hint: `Options of a command come behind it: rekernel kexec ${command.name()} ${first.long}`,
          },
        );
    });
  examples(
    group,
    "sudo rekernel kexec",
    "rekernel kexec --dry-run",
    "sudo rekernel kexec --quiesce --yes",
    "sudo rekernel kexec --fallback 5",
    "sudo rekernel kexec /boot/vmlinuz-6.12.117+deb12-amd64 \\\n" +
      "      --initrd /boot/initrd.img-6.12.117+deb12-amd64 --reuse-cmdline",
  );
}

async function goWholeWay(
  context: CommandContext,
  options: Options,
  image: string | undefined,
): Promise<number | undefined> {
  const { kexecWholeWay, surveyKexec } = await import("../kexec/whole-way.ts");
  const { request, choice } = await requestOf(options, image);
  const how: WholeWayOptions = {
    now: options.now,
    quiesce: options.quiesce === true || options.unbind !== undefined,
    unbind: options.unbind,
    ignore: options.ignore,
    noHooks: !options.hooks,
    hookTimeoutMs: options.hookTimeout,
    onProgress: context.onProgress,
    signal: context.signal,
  };
  if (options.fallback !== undefined) how.fallback = { minutes: options.fallback, program: ownProgram() };
  const survey = await surveyKexec(request, how);
  const { plan: planned, preflight, stoppedBy, ignored } = survey;
  const report: WholeWayReport = {
    choice,
    plan: planned,
    preflight,
    stoppedBy,
    ignored,
    fallback: undefined,
    loaded: false,
    by: undefined,
    quieted: [],
    hooks: [],
  };
  if (choice !== undefined) context.print(`${describeChoice(context, choice)}\n`);
  context.print(`${describeKexecPlan(context, survey.plan, false)}\n`);
  context.print(describePreflight(survey.preflight, context, { briefNotes: true }));
  if (survey.trial !== undefined)
    context.print(
      `Back to ${printable(survey.trial.old)} ${options.fallback} minutes after the boot, unless rekernel kexec confirm is run.`,
    );
  if (survey.ignored.length > 0) context.print(`Ignored: ${survey.ignored.join(", ")}.`);
  if (survey.stoppedBy.length > 0) {
    context.result(report);
    context.print(`To go on all the same: ${survey.stoppedBy.map((check) => `--ignore ${check}`).join(" ")}`);
    return exitCode.refused;
  }
  if (options.dryRun === true) {
    context.result(report);
    context.print("Nothing was done (--dry-run).");
    return exitCode.done;
  }
  if (!(await agreed(context, options))) {
    context.print("Nothing was done.");
    return exitCode.nothingToDo;
  }
  await kexecWholeWay(survey, how, ({ plan, quieted, hooks, fallback }, by) => {
    if (how.quiesce === true) context.print(describeQuieted(quieted, context));
    if (fallback !== undefined) context.print(describeFallback(fallback));
    context.print(describeLeaving(context, { by }, options.now === true));
    context.result({ ...report, plan, quieted, hooks, fallback, loaded: true, by });
  });
  return exitCode.done;
}

function describeFallback({ files, bootEntry, notes }: ArmedFallback): string {
  return [
    "For the way back, until it is confirmed or over:",
    ...files.map((file) => `  ${printable(file)}`),
    ...(bootEntry === undefined ? [] : [`  the boot loader's next entry: ${printable(bootEntry)}`]),
    ...notes.map(printable),
  ].join("\n");
}

/** How this program is started again. */
function ownProgram(): string[] {
  return [isSea() ? process.execPath : join(import.meta.dirname, "..", "..", "bin", "rekernel")];
}

/** Asks where somebody can answer; a script that calls this wants it done. */
async function agreed(context: CommandContext, { yes, now }: Options): Promise<boolean> {
  if (yes === true || context.json || !process.stdin.isTTY || !process.stdout.isTTY) return true;
  const lines = createInterface({ input: process.stdin, output: process.stdout });
  try {
    const question = now
      ? "Jump now, without stopping services? [y/N] "
      : "Stop everything and start this kernel? [y/N] ";
    return /^y(es)?$/i.test((await lines.question(question, { signal: context.signal })).trim());
  } catch (error) {
    context.signal.throwIfAborted();
    throw error;
  } finally {
    lines.close();
  }
}

/** `rekernel kexec staus` is no image. */
async function requireNoTypo(image: string | undefined, group: Command): Promise<void> {
  if (image === undefined || image.includes("/")) return;
  const { access } = await import("node:fs/promises");
  const isFile = await access(image).then(
    () => true,
    () => false,
  );
  if (isFile) return;
  throw new RekernelError(
    "usage",
    "RK-USAGE",
    `${image} is neither a command of rekernel kexec nor a file.`,
    {
      hint: `The commands are ${group.commands.map((command) => command.name()).join(", ")}.`,
    },
  );
}
