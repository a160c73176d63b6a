/** Loads live patches into a guest of their kernel, takes them back, and reads what the kernel says. */
import { RekernelError } from "../core/errors.ts";
import { runStep, type WorkOptions } from "../core/progress.ts";
import { modulesInLoadOrder } from "./kernel-modules.ts";
import { bootVm, type LabKernel, type Vm } from "./vm.ts";

export interface PatchOnTrial {
  /** The live patch module's name and path. */
  name: string;
  path: string;
  /** Kernel modules that it patches. */
  targets: readonly string[];
  /** Files of those among them, and of what they need, that are not the kernel's own. */
  foreign?: readonly { name: string; path: string }[] | undefined;
}

export interface PatchTrial {
  /** clean, or: the log reports trouble; the kernel refused it; a transition did not end; it did not go; the kernel died. */
  verdict: "clean" | "warned" | "rejected" | "stalled" | "kept" | "crashed";
  /** Of the kernel modules that it patches, those that were loaded: others need hardware that the guest lacks. */
  targetsLoaded: string[];
  /** Lines of the kernel's log that report trouble. */
  warnings: string[];
  /** The kernel's log of the trial, unless it was clean. */
  log?: string;
}

const trouble =
  /WARNING:|BUG:|BUG |Oops|Call Trace:|general protection|unable to handle|livepatch: .*(fail|invalid|not found)|Unknown symbol|disagrees about|static_call|Kernel panic/i;

/** A guest that holds the patches and the modules that they patch, for {@link tryPatch}. */
export async function bootForTrial(
  kernel: LabKernel,
  patches: readonly PatchOnTrial[],
  options: WorkOptions,
): Promise<Vm> {
  const files: Record<string, string | Uint8Array> = {};
  for (const patch of patches) {
    files[`/m/${patch.name}.ko`] = patch.path;
    const modules =
      kernel.modules === undefined
        ? []
        : await modulesInLoadOrder(kernel.modules, patch.targets, patch.foreign);
    for (const { name, data } of modules) files[`/t/${name}.ko`] = data;
    files[`/m/${patch.name}.targets`] = Buffer.from(modules.map(({ name }) => `${name}\n`).join(""));
  }
  return bootVm({ kernel, files, hostRoot: false, memoryMiB: 2048, signal: options.signal });
}

/** Loads the patch, takes it back, loads it again and takes it back again, and watches each transition to its end. */
export async function tryPatch(vm: Vm, patch: PatchOnTrial): Promise<PatchTrial> {
  const state = `/sys/kernel/livepatch/${patch.name}`;
  const settled = `n=0; while [ "$(cat ${state}/transition 2>/dev/null)" = 1 ]; do n=$((n+1)); [ $n -lt 300 ] || exit 11; sleep 0.3; done`;
  const script = `
for m in $(cat /m/${patch.name}.targets); do [ -d /sys/module/$m ] || insmod /t/$m.ko 2>/dev/null; done
dmesg -c > /dev/null
for m in ${patch.targets.join(" ")}; do [ -d /sys/module/$m ] && echo $m; done
(
  for round in 1 2; do
    insmod /m/${patch.name}.ko || exit 10
    ${settled}
    [ "$(cat ${state}/enabled)" = 1 ] || exit 10
    echo 0 > ${state}/enabled || exit 12
    ${settled}
    rmmod ${patch.name} || exit 12
  done
)
code=$?
dmesg -c >&2
exit $code`;
  try {
    const { exitCode, stdout, stderr } = await vm.run(script, { timeoutMs: 400_000 });
    const targetsLoaded = stdout.split("\n").filter((line) => line !== "");
    const warnings = stderr.split("\n").filter((line) => trouble.test(line));
    const verdict = verdictOf(exitCode, warnings);
    return { verdict, targetsLoaded, warnings, ...(verdict === "clean" ? {} : { log: stderr }) };
  } catch (error) {
    if (!(error instanceof RekernelError) || !error.code.startsWith("RK-LAB-")) throw error;
    const log = `${error.message}\n${vm.console().split("\n").slice(-80).join("\n")}`;
    return { verdict: "crashed", targetsLoaded: [], warnings: [error.message], log };
  }
}

function verdictOf(exitCode: number, warnings: readonly string[]): PatchTrial["verdict"] {
  if (exitCode === 11) return "stalled";
  if (exitCode === 12) return "kept";
  if (exitCode !== 0) return "rejected";
  return warnings.length > 0 ? "warned" : "clean";
}

const explanations: Record<Exclude<PatchTrial["verdict"], "clean">, string> = {
  warned: "the kernel's log reports trouble",
  rejected: "the kernel refuses it",
  stalled: "its transition does not end",
  kept: "it cannot be taken back",
  crashed: "the kernel dies of it",
};

/**
 * Boots the target kernel and tries one patch in it.
 *
 * @throws RekernelError RK-VERIFY (1) when anything but a clean verdict comes out; those of {@link bootVm}
 */
export async function verifyPatch(
  kernel: LabKernel,
  patch: PatchOnTrial,
  options: WorkOptions,
): Promise<PatchTrial> {
  return runStep(options, "verify", `Try it in ${kernel.release}: load, take back, load again`, async () => {
    const vm = await bootForTrial(kernel, [patch], options);
    try {
      const trial = await tryPatch(vm, patch);
      if (trial.verdict !== "clean")
        throw new RekernelError(
          "failed",
          "RK-VERIFY",
          `${patch.path} did not stand the trial: ${explanations[trial.verdict]}.`,
          {
            details: [...trial.warnings, ...(trial.log ?? "").split("\n").slice(-20)].join("\n"),
            hint: "Do not load it. The kernel's log above says what went wrong.",
          },
        );
      return trial;
    } finally {
      await vm.stop();
    }
  });
}
