import { basename } from "node:path";
import { Command, CommanderError } from "commander";
import packageJson from "../../package.json" with { type: "json" };
import { exitCode, RekernelError } from "../core/errors.ts";
import { reportFailure } from "./context.ts";
import { registerDoctor } from "./doctor.ts";
import { registerExplain } from "./explain.ts";
import { registerImageInfo } from "./image-info.ts";
import { registerImageSymbols } from "./image-symbols.ts";
import { kexecFront, registerKexecCompat } from "./kexec-compat.ts";
import { registerKexecConfirm } from "./kexec-confirm.ts";
import { registerKexecExec } from "./kexec-exec.ts";
import { registerKexecFallbackWatch } from "./kexec-fallback-watch.ts";
import { registerKexecList } from "./kexec-list.ts";
import { registerKexecLoad } from "./kexec-load.ts";
import { registerKexecPreflight } from "./kexec-preflight.ts";
import { registerKexecStatus } from "./kexec-status.ts";
import { registerKexecUnload } from "./kexec-unload.ts";
import { registerKexecWholeWay } from "./kexec-whole-way.ts";
import { registerLabRun } from "./lab-run.ts";
import { registerPatchBuild } from "./patch-build.ts";
import { registerPatchDiff } from "./patch-diff.ts";
import { registerPatchInspect } from "./patch-inspect.ts";
import { registerPatchList } from "./patch-list.ts";
import { registerPatchLoad } from "./patch-load.ts";
import { registerPatchStatus } from "./patch-status.ts";
import { registerPatchUnload } from "./patch-unload.ts";

/** Registers one command. Only options and help: the library is imported by the action when it runs. */
type Register = (parent: Command) => void;

const topLevel: readonly Register[] = [registerDoctor, registerExplain];

/** `itself` makes the group's name a command, too. */
const groups: readonly { name: string; summary: string; commands: readonly Register[]; itself?: Register }[] =
  [
    {
      name: "image",
      summary: "look into a kernel image",
      commands: [registerImageInfo, registerImageSymbols],
    },
    {
      name: "patch",
      summary: "build, load and take back live patches",
      commands: [
        registerPatchBuild,
        registerPatchDiff,
        registerPatchInspect,
        registerPatchLoad,
        registerPatchUnload,
        registerPatchList,
        registerPatchStatus,
      ],
    },
    {
      name: "kexec",
      summary: "start another kernel without firmware or boot loader",
      itself: registerKexecWholeWay,
      commands: [
        registerKexecList,
        registerKexecPreflight,
        registerKexecLoad,
        registerKexecExec,
        registerKexecUnload,
        registerKexecStatus,
        registerKexecConfirm,
        registerKexecFallbackWatch,
        registerKexecCompat,
      ],
    },
    { name: "lab", summary: "try kernels and patches in a virtual machine", commands: [registerLabRun] },
  ];

const exitCodesHelp = `
Exit codes:
  0  done
  1  failed
  2  wrong usage
  3  nothing to do (for example, a patch without functional change)
  4  refused: it cannot be done safely; the message says why
  5  this machine cannot: permission, kernel feature or tool missing;
     the message says which

Every command takes --json (docs/json.md) and --help, which shows an example.
Error codes (RK-...) are explained by rekernel explain CODE, and in
docs/errors.md.`;

function createProgram(): Command {
  const program = new Command("rekernel")
    .description("Change the kernel under a running Linux machine: live patches, kexec, kdump.")
    .version(packageJson.version, "-V, --version", "print the version")
    .helpOption("-h, --help", "show help")
    .helpCommand(false)
    // Or a group that is a command itself could not tell its options from those of its commands.
    .enablePositionalOptions()
    .addHelpText("after", exitCodesHelp);
  for (const register of topLevel) register(program);
  const runnable = new Set<Command>();
  for (const { name, summary, commands, itself } of groups) {
    const group = program
      .command(name)
      .summary(summary)
      .description(`${summary.charAt(0).toUpperCase()}${summary.slice(1)}.`);
    group.helpCommand(false).helpOption("-h, --help", "show help");
    if (itself !== undefined) {
      itself(group);
      runnable.add(group);
    }
    for (const register of commands) register(group);
  }
  for (const command of everyCommand(program)) {
    command.exitOverride().configureOutput({ writeErr() {} });
    command.helpOption("-h, --help", "show help");
    // Lines end where the help is wrapped, paragraphs where the command says.
    command.description(command.description().replace(/(?<!\n)\n(?!\n)/g, " "));
    const runs = runnable.has(command) || (command.commands.length === 0 && command !== program);
    if (runs && !command.options.some(({ long }) => long === "--json"))
      command.option(
        "--json",
        "print one JSON document instead of text, and progress as JSON lines on stderr",
      );
  }
  return program;
}

function* everyCommand(command: Command): Generator<Command> {
  yield command;
  for (const child of command.commands) yield* everyCommand(child);
}

function usageError(program: Command, error: CommanderError, argv: readonly string[]): RekernelError {
  let command = program;
  for (const word of argv) {
    const next = command.commands.find((child) => child.name() === word || child.aliases().includes(word));
    if (next === undefined) break;
    command = next;
  }
  const names: string[] = [];
  for (let at: Command | null = command; at !== null; at = at.parent) names.unshift(at.name());
  const line = names.join(" ");
  const isGroup = command.commands.length > 0;
  const text = error.message.replace(/^error: /, "").trim();
  return new RekernelError(
    "usage",
    "RK-USAGE",
    error.code === "commander.help"
      ? `${line} needs a command: ${command.commands.map((child) => child.name()).join(", ")}.`
      : `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.?)]$/.test(text) ? "" : "."}`,
    { hint: `See ${isGroup ? "the commands" : "an example"}: ${line} --help` },
  );
}

async function main(argv: readonly string[]): Promise<void> {
  const program = createProgram();
  try {
    await program.parseAsync([...argv], { from: "user" });
  } catch (error) {
    const isCommander = error instanceof CommanderError;
    if (isCommander && error.exitCode === exitCode.done) return;
    process.exitCode = reportFailure(
      isCommander ? usageError(program, error, argv) : error,
      argv.includes("--json"),
    );
  }
}

process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
});
// bin/rekernel sets it for this process; programs that a command starts have their own ways.
delete process.env.NODE_COMPILE_CACHE;
// A symbolic link called kexec stands in for kexec-tools; bin/rekernel tells how it was called.
const calledAs = basename(process.env.REKERNEL_CALLED_AS ?? process.argv0);
delete process.env.REKERNEL_CALLED_AS;
const words = process.argv.slice(2);
await (calledAs === "kexec" ? kexecFront(words) : main(words));
