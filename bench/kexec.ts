// The downtime of a kexec, kexec-tools and rekernel side by side in one guest: from the moment when the old user
// space stops serving to the first line of the new one.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { bootableKernel } from "../src/kernel/target.ts";
import { bootVm, type Vm } from "../src/lab/vm.ts";
import { testKernels } from "../test/vm/kernels.ts";
import { type Jump, JumpWatch } from "./kexec-guest.ts";
import { benchInitrd, firstProgram } from "./kexec-initrd.ts";

const json = process.argv.includes("--json");
const runs = Number(
  /^--runs=(\d+)$/.exec(process.argv.find((word) => word.startsWith("--runs=")) ?? "")?.[1] ?? 5,
);
const rekernel = join(dirname(import.meta.dirname), "bin/rekernel");
const names = {
  kexecTools: "kexec-tools (kexec_load, its default)",
  kexecToolsFile: "kexec-tools -s (kexec_file_load)",
  rekernel: "rekernel",
  firmware: "reboot through the firmware",
} as const;
type Method = keyof typeof names;

const tool = kexecTools();
if (tool === undefined)
  say("kexec-tools is not installed (apt-get install kexec-tools): no comparison with it");
const { newest } = await testKernels();
const kernel = await bootableKernel(newest);
if (kernel.modules === undefined) throw new Error(`${newest} has no modules`);
say("Packing an initrd");
const initrd = await benchInitrd(kernel.modules);
const share = mkdtempSync(join(tmpdir(), "rekernel-bench-"));
process.on("exit", () => rmSync(share, { recursive: true, force: true }));
for (const name of ["SIGINT", "SIGTERM"] as const) process.on(name, () => process.exit(1));
writeFileSync(join(share, "drivers.zst"), initrd.packed);

say(`Booting ${newest}`);
const watch = new JumpWatch();
const memoryMiB = 2048;
await using vm = await bootVm({
  kernel,
  memoryMiB,
  share,
  hangAfterMs: 600_000,
  onConsole: (line) => watch.line(line),
});
const folder = `/lab/kernels/${newest}`;
// `quiet` as Debian's boot loader configuration has it: an emulated serial line takes half a second for a whole log.
const commandLine = `${(await vm.run(`cat ${folder}/cmdline`)).stdout.trim().replace(/rdinit=\S+/, `rdinit=${firstProgram}`)} quiet`;
const files = `--initrd=/run/initrd --command-line="${commandLine}"`;
const environment = "HOME=/root XDG_CACHE_HOME=/run/cache";
const ways: Record<Method, { load?: string; go: string }> = {
  kexecTools: { load: `${tool} -l ${folder}/vmlinuz ${files}`, go: leave(`${tool} -e -x`) },
  kexecToolsFile: { load: `${tool} -s -l ${folder}/vmlinuz ${files}`, go: leave(`${tool} -e -x`) },
  rekernel: {
    load: `${environment} ${rekernel} kexec load ${folder}/vmlinuz ${files} --json`,
    go: `${environment} exec ${rekernel} kexec exec --now`,
  },
  // It starts with the lab's own initrd, which is small and not packed.
  firmware: { go: leave("sh -c 'echo b >/proc/sysrq-trigger'") },
};
const measured: Record<Method, Jump[]> = { kexecTools: [], kexecToolsFile: [], rekernel: [], firmware: [] };
const loads: { ms: number; bases: string[] } = { ms: 0, bases: [] };
const order: Method[] =
  tool === undefined ? ["rekernel", "firmware"] : ["kexecTools", "rekernel", "kexecToolsFile", "firmware"];
for (let round = 1; round <= runs; round++)
  for (const method of order) {
    if (method === "firmware" && round > 2) continue;
    say(`Round ${round} of ${runs}: ${names[method]}`);
    const jump = await measure(vm, method);
    measured[method].push(jump);
    say(`  ${seconds(jump.downtimeMs)} (${seconds(jump.cpuMs)} of the processor)`);
  }

// One slide of some hundred is none.
if (loads.bases.length > 1 && loads.bases.every((base) => base === "ffffffff81000000"))
  throw new Error("the kernel's address is not random");

const results = Object.fromEntries(order.map((method) => [method, summary(measured[method])])) as Partial<
  Record<Method, ReturnType<typeof summary>>
>;
const ratio = (other: Method, unit: "downtimeMs" | "cpuMs") =>
  results[other] && results.rekernel && results.rekernel[unit] / results[other][unit];
const document = {
  machine: { processors: cpus().length, model: cpus()[0]?.model ?? "unknown" },
  guest: {
    kernel: newest,
    memoryMiB,
    commandLine,
    initrdBytes: initrd.packed.length,
    unpackedBytes: initrd.unpackedBytes,
  },
  runs,
  results,
  kernelBases: loads.bases,
  loadMs: loads.ms,
  ratios: {
    downtime: ratio("kexecTools", "downtimeMs"),
    downtimeCpu: ratio("kexecTools", "cpuMs"),
    downtimeFile: ratio("kexecToolsFile", "downtimeMs"),
    firmware: ratio("firmware", "downtimeMs"),
  },
};
if (json) console.log(JSON.stringify(document, undefined, 2));
else print();

/** Loads, then goes, with everything that must hold for a fair comparison checked. */
async function measure(guest: Vm, method: Method): Promise<Jump> {
  const { load, go } = ways[method];
  if (load !== undefined) {
    await ok(guest, `cat ${folder}/initrd /share/drivers.zst >/run/initrd`);
    const startedMs = performance.now();
    const { stdout } = await ok(guest, load);
    if (method === "rekernel") {
      loads.ms = performance.now() - startedMs;
      const { kernelForm, initrdForm, layout } = JSON.parse(stdout);
      if (kernelForm !== "decompressed" || initrdForm !== "decompressed" || layout?.digest !== "sum")
        throw new Error(`rekernel did not take the fast path: ${stdout}`);
    }
    await ok(guest, "rm /run/initrd; sync");
  }
  // The old kernel says when it leaves.
  await ok(guest, "echo 7 >/proc/sys/kernel/printk");
  const jump = await watch.time(guest, go);
  if (method === "rekernel")
    loads.bases.push((await ok(guest, "grep ' _text$' /proc/kallsyms")).stdout.slice(0, 16));
  return jump;
}

async function ok(guest: Vm, command: string) {
  const result = await guest.run(command);
  if (result.exitCode !== 0)
    throw new Error(`${command} ended with ${result.exitCode}:\n${result.stdout}${result.stderr}`);
  return result;
}

/** Says on the console that the old user space ends here. */
function leave(command: string): string {
  return `sync; echo 'bench: leaving' >/dev/kmsg; exec ${command}`;
}

function summary(jumps: readonly Jump[]) {
  const middle = (of: (jump: Jump) => number) => {
    const values = jumps.map(of).sort((a, b) => a - b);
    return values.length % 2 === 1
      ? values[values.length >> 1]!
      : (values[values.length / 2]! + values[values.length / 2 - 1]!) / 2;
  };
  const phases = Object.keys(jumps[0]!.phasesMs) as (keyof Jump["phasesMs"])[];
  return {
    downtimeMs: middle(({ downtimeMs }) => downtimeMs),
    cpuMs: middle(({ cpuMs }) => cpuMs),
    downtimesMs: jumps.map(({ downtimeMs }) => downtimeMs),
    phasesMs: Object.fromEntries(phases.map((name) => [name, middle(({ phasesMs }) => phasesMs[name])])),
  };
}

function print(): void {
  const { machine, guest, ratios } = document;
  console.log(
    `\n${machine.processors} x ${machine.model}; guest: ${guest.kernel} to itself, ${guest.memoryMiB} MiB, an initrd of ${mebibytes(guest.initrdBytes)} packed with zstd (${mebibytes(guest.unpackedBytes)})`,
  );
  console.log("Medians in seconds; in brackets the emulator's processor time.\n");
  const phases = Object.keys(Object.values(results)[0]!.phasesMs);
  const rows = [["", "downtime", ...phases]];
  for (const [method, { downtimeMs, cpuMs, phasesMs }] of Object.entries(results))
    rows.push([
      names[method as Method],
      `${(downtimeMs / 1000).toFixed(2)} (${(cpuMs / 1000).toFixed(2)})`,
      ...phases.map(
        (phase) =>
          `${(phasesMs[phase]! / 1000).toFixed(2)} ${`${((100 * phasesMs[phase]!) / downtimeMs).toFixed(0)} %`.padStart(4)}`,
      ),
    ]);
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  for (const row of rows) console.log(row.map((text, column) => text.padEnd(widths[column]!)).join("  "));
  if (ratios.downtime !== undefined)
    console.log(
      `\nrekernel's downtime is ${ratios.downtime.toFixed(2)} of kexec-tools' default (${ratios.downtimeCpu!.toFixed(2)} by processor time), ${ratios.downtimeFile!.toFixed(2)} of kexec-tools -s${ratios.firmware === undefined ? "" : `, ${ratios.firmware.toFixed(2)} of a firmware reboot`}.`,
    );
  console.log(`It loaded for ${seconds(document.loadMs)} before, while the old kernel served.`);
}

function kexecTools(): string | undefined {
  try {
    return execFileSync("sh", ["-c", "PATH=$PATH:/usr/sbin:/sbin command -v kexec"], {
      encoding: "utf8",
    }).trim();
  } catch {
    return undefined;
  }
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`;
}

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}
