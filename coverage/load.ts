/** Loads live patches into their kernel in the lab, takes them back, and reads what the kernel says. */
import { RekernelError } from "../src/core/errors.ts";
import type { WorkOptions } from "../src/core/progress.ts";
import type { TargetKernel } from "../src/kernel/target.ts";
import { modulesInLoadOrder } from "../src/lab/kernel-modules.ts";
import { bootVm, type Vm } from "../src/lab/vm.ts";

export interface Loadable {
  /** The live patch module's name and path. */
  name: string;
  path: string;
  /** Kernel modules that it patches. */
  targets: readonly string[];
}

export interface LoadResult {
  verdict: "clean" | "warned" | "rejected" | "stalled" | "kept" | "crashed";
  /** Of the kernel modules that it patches, those that were loaded. */
  targetsLoaded: string[];
  /** Lines of the kernel's log that report trouble. */
  warnings: string[];
  log?: string;
}

const trouble =
  /WARNING:|BUG:|BUG |Oops|Call Trace:|general protection|unable to handle|livepatch: .*(fail|invalid|not found)|Unknown symbol|disagrees about|static_call|Kernel panic/i;
const modulesPerVm = 12;

export async function loadAll(
  kernel: TargetKernel,
  patches: readonly Loadable[],
  options: WorkOptions & { onLoaded(name: string, result: LoadResult): void },
): Promise<Map<string, LoadResult>> {
  const results = new Map<string, LoadResult>();
  const waiting = [...patches];
  while (waiting.length > 0) {
    const batch = waiting.slice(0, modulesPerVm);
    const { vm, order } = await boot(kernel, batch, options);
    try {
      for (const patch of batch) {
        waiting.shift();
        const result = await loadOne(vm, patch, order.get(patch) ?? []);
        results.set(patch.name, result);
        options.onLoaded(patch.name, result);
        // What did not go may be in the way of the next: a fresh kernel for it.
        if (result.verdict !== "clean" && result.verdict !== "rejected") break;
      }
    } finally {
      await vm.stop();
    }
  }
  return results;
}

async function boot(kernel: TargetKernel, batch: readonly Loadable[], options: WorkOptions) {
  const files: Record<string, string | Uint8Array> = {};
  const order = new Map<Loadable, string[]>();
  for (const patch of batch) {
    files[`/m/${patch.name}.ko`] = patch.path;
    const modules = await modulesInLoadOrder(kernel.modules!, patch.targets);
    for (const { name, data } of modules) files[`/t/${name}.ko`] = data;
    order.set(
      patch,
      modules.map(({ name }) => name),
    );
  }
  const vm = await bootVm({ kernel, files, hostRoot: false, memoryMiB: 2048, signal: options.signal });
  return { vm, order };
}

async function loadOne(vm: Vm, patch: Loadable, modules: readonly string[]): Promise<LoadResult> {
  const state = `/sys/kernel/livepatch/${patch.name}`;
  const settled = `n=0; while [ "$(cat ${state}/transition 2>/dev/null)" = 1 ]; do n=$((n+1)); [ $n -lt 300 ] || exit 11; sleep 0.3; done`;
  const script = `
for m in ${modules.join(" ")}; do [ -d /sys/module/$m ] || insmod /t/$m.ko 2>/dev/null; done
dmesg -c > /dev/null
for m in ${patch.targets.join(" ")}; do [ -d /sys/module/$m ] && echo $m; done
(
  insmod /m/${patch.name}.ko || exit 10
  ${settled}
  [ "$(cat ${state}/enabled)" = 1 ] || exit 10
  echo 0 > ${state}/enabled || exit 12
  ${settled}
  rmmod ${patch.name} || exit 12
)
code=$?
dmesg -c >&2
exit $code`;
  try {
    const { exitCode, stdout, stderr } = await vm.run(script, { timeoutMs: 400_000 });
    const targetsLoaded = stdout.split("\n").filter((line) => line !== "");
    const warnings = stderr.split("\n").filter((line) => trouble.test(line));
    const verdict =
      exitCode === 11
        ? "stalled"
        : exitCode === 12
          ? "kept"
          : exitCode !== 0
            ? "rejected"
            : warnings.length > 0
              ? "warned"
              : "clean";
    return { verdict, targetsLoaded, warnings, ...(verdict === "clean" ? {} : { log: stderr }) };
  } catch (error) {
    if (!(error instanceof RekernelError) || !error.code.startsWith("RK-LAB")) throw error;
    const log = `${error.message}\n${vm.console().split("\n").slice(-80).join("\n")}`;
    return { verdict: "crashed", targetsLoaded: [], warnings: [error.message], log };
  }
}
