import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { CommandContext } from "../src/cli/context.ts";
import { formatElapsed } from "../src/cli/progress.ts";
import { RekernelError } from "../src/core/errors.ts";
import { runStep } from "../src/core/progress.ts";
import { type AvailableKernel, bootableKernel, targetKernel } from "../src/kernel/target.ts";
import { type BuildReport, buildLivePatch } from "../src/livepatch/build/build.ts";
import { parsePatch } from "../src/livepatch/build/source/patch.ts";
import { DemoGuest, type Identity, unexpected } from "./guest.ts";
import { demoKernels } from "./kernels.ts";
import type { PollStatistics } from "./poller.ts";
import { Stage } from "./stage.ts";

const patchPath = join(import.meta.dirname, "cgroup-kill.patch");
/** What `rekernel patch build` calls the module of that patch. */
const patchName = "livepatch_cgroup_kill";
const idleMs = 3000;

/** What the demonstration measured, for the table at its end. */
interface Measured {
  build: BuildReport;
  idle: PollStatistics;
  bystander: PollStatistics;
  load: PollStatistics;
  unload: PollStatistics;
  kexecMs: number;
  rebootMs: number;
}

/** Plays the demonstration (README.md in this folder). Whatever does not go as it must is thrown. */
export async function play(context: CommandContext): Promise<void> {
  const { signal, onProgress } = context;
  const stage = new Stage(context);

  stage.say(
    "rekernel changes the kernel under a running machine. What follows happens now, in a VM, to kernels as " +
      "Debian ships them: a live patch, a kexec, a reboot.",
  );
  const { newest, older } = await demoKernels({ signal, onProgress });
  const text = await readFile(patchPath, "utf8");
  const patch = parsePatch(text, "demo/cgroup-kill.patch");
  const next = await bootableKernel(newest.release, { signal, onProgress });

  for (const kernel of older) {
    const target = await targetKernel(kernel.release, { signal, onProgress });
    stage.chapter(1, `A machine runs ${kernel.release} and serves`);
    await using guest = await runStep({ signal, onProgress }, "boot", `Boot ${kernel.release} in a VM`, () =>
      DemoGuest.boot(target, next, signal),
    );
    const before = await guest.identity();
    stage.say(
      `Its HTTP service (pid ${servicePid(before)}) is polled from outside about 100 times a second. ` +
        `Boot id ${before.bootId}.`,
    );

    stage.chapter(2, "A live patch for exactly this kernel, from a real fix");
    stage.say(
      "“echo 1 > cgroup.kill” is to kill all that is in a control group. A process whose first thread has " +
        "ended survives it. Linux 6.12.117 fixed that:",
    );
    stage.quote(changedLines(text));
    stage.onHost(`rekernel patch build demo/cgroup-kill.patch --kernel ${kernel.release}`);
    let build: BuildReport;
    try {
      build = await buildLivePatch({
        target,
        patches: [patch],
        output: join(guest.share, `${patchName}.ko`),
        signal,
        onProgress,
      });
    } catch (error) {
      if (!(error instanceof RekernelError) || error.code !== "RK-PATCH-DOES-NOT-APPLY") throw error;
      stage.say(`${error.message} So an older kernel has to do.`);
      continue;
    }
    stage.say(describeBuild(build));
    const gaps = await livePatchAct(guest, before, stage, signal);
    const downtimes = await newKernelAct(guest, before, newest, stage, context);
    stage.table(rows({ build, ...gaps, ...downtimes }, kernel.release, newest.release));
    return;
  }
  throw new RekernelError(
    "failed",
    "RK-DEMO-KERNELS",
    `demo/cgroup-kill.patch fits none of the kernels that apt offers besides ${newest.release}.`,
    { hint: "Debian's archive has moved on: demo/README.md says how to choose another fix." },
  );
}

type Gaps = Pick<Measured, "idle" | "bystander" | "load" | "unload">;
type Downtimes = Pick<Measured, "kexecMs" | "rebootMs">;

/** Loads the patch, takes it back, loads it again; looks for the defect before and after each. */
async function livePatchAct(
  guest: DemoGuest,
  before: Identity,
  stage: Stage,
  signal: AbortSignal,
): Promise<Gaps> {
  stage.chapter(3, "The defect goes, comes back, and goes, and nothing stops");
  const idle = (await guest.watch(() => sleep(idleMs, undefined, { signal }))).seen;
  stage.trial(await guest.tryDefect(), true);
  const bystander = (await guest.watch(() => guest.rekernel("patch", "list"))).seen;

  const load = await stage.watched(guest, "patch", "load", `/share/${patchName}.ko`);
  stage.trial(await guest.tryDefect(), false);
  await sameMachine(guest, before, stage);

  const unload = await stage.watched(guest, "patch", "unload", patchName);
  stage.trial(await guest.tryDefect(), true);

  await stage.watched(guest, "patch", "load", `/share/${patchName}.ko`);
  stage.trial(await guest.tryDefect(), false);
  await sameMachine(guest, before, stage);
  return { idle, bystander, load, unload };
}

/** Takes the guest into the newest kernel by kexec, and then back through its firmware. */
async function newKernelAct(
  guest: DemoGuest,
  before: Identity,
  newest: AvailableKernel,
  stage: Stage,
  { signal, onProgress }: CommandContext,
): Promise<Downtimes> {
  stage.chapter(4, `The whole kernel: kexec into ${newest.release}, then a reboot`);
  const folder = `/lab/kernels/${newest.release}`;
  const [image, initrd] = [`${folder}/vmlinuz`, `${folder}/initrd`];
  const commandLine = Buffer.from(await guest.vm.readFile(`${folder}/cmdline`)).toString();
  stage.inGuest(`rekernel kexec load ${image} \\`, `    --initrd ${initrd} --command-line …`);
  const options = ["--initrd", initrd, "--command-line", commandLine.trim()];
  stage.quote(await guest.rekernel("kexec", "load", image, ...options));
  stage.inGuest("rekernel kexec exec --now");
  await guest.depart("kexec", "exec", "--now");
  const kexecMs = await runStep({ signal, onProgress }, "kexec", "Jump into the new kernel", () =>
    guest.arrival(before.bootId, signal),
  );
  const after = guest.poller.last!.status;
  if (after.release !== newest.release) throw unexpected(`after the kexec, ${after.release} runs`);
  stage.say(
    `${after.release} answers ${formatElapsed(kexecMs)} after the old kernel did last; ` +
      `boot id ${after.bootId}, service pid ${after.pid}.`,
  );
  stage.trial(await guest.tryDefect(), false);

  stage.inGuest("reboot -f");
  await guest.departByReboot();
  const rebootMs = await runStep({ signal, onProgress }, "reboot", "Restart through the firmware", () =>
    guest.arrival(after.bootId, signal),
  );
  const rebooted = guest.poller.last!.status;
  if (rebooted.release !== before.release) throw unexpected(`after the reboot, ${rebooted.release} runs`);
  stage.say(
    `${rebooted.release} answers ${formatElapsed(rebootMs)} after the other kernel did last. ` +
      "The firmware of this VM takes a moment; that of a server takes minutes.",
  );
  return { kexecMs, rebootMs };
}

/** Same boot, same processes since then: only the kernel's code has changed. */
async function sameMachine(guest: DemoGuest, before: Identity, stage: Stage): Promise<void> {
  const now = await guest.identity();
  if (JSON.stringify(now) !== JSON.stringify(before))
    throw unexpected(`the guest was ${JSON.stringify(before)} and is ${JSON.stringify(now)}`);
  const pids = Object.keys(now.startTimes).join(", ");
  const uptime = Math.round((await guest.uptimeMs()) / 1000);
  stage.say(`Same boot id, same pids (${pids}) with the same start times, up ${uptime} s.`);
}

function rows(measured: Measured, from: string, to: string): [string, string][] {
  const { idle, bystander, load, unload } = measured;
  const { functions, match, timesMs } = measured.build;
  const gap = ({ longestGapMs, failures }: PollStatistics) =>
    `${longestGapMs.toFixed(0)} ms${failures === 0 ? "" : `, ${failures} polls failed`}`;
  return [
    ["live patch built in", formatElapsed(timesMs.total)],
    ["functions replaced", `${functions.length}`],
    ["  that the stock image has byte for byte", `${functions.length} of ${functions.length}`],
    ["  of all in the source file", `${match.identicalFunctions} of ${match.comparedFunctions}`],
    ["longest gap in the service: idle", gap(idle)],
    ["  while another command runs (patch list)", gap(bystander)],
    ["  while the patch is loaded", gap(load)],
    ["  while it is taken back", gap(unload)],
    [`downtime by kexec, to ${to}`, formatElapsed(measured.kexecMs)],
    [`downtime by reboot, to ${from}`, formatElapsed(measured.rebootMs)],
  ];
}

function servicePid({ startTimes }: Identity): number {
  return Math.max(...Object.keys(startTimes).map(Number));
}

/** The patch without its header and its context: what the fix changes. */
function changedLines(text: string): string {
  return text
    .split("\n")
    .filter((line) => /^(---|\+\+\+|[-+]\s)/.test(line))
    .join("\n");
}

function describeBuild({ functions, match, sizeBytes, timesMs }: BuildReport): string {
  const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;
  const replaced = functions.map(({ name, source }) => `${name}() of ${source}`).join(", ");
  return (
    `A module of ${sizeBytes} bytes, in ${seconds(timesMs.total)}: ${seconds(timesMs.compile)} compiler, ` +
    `${seconds(timesMs.link)} kbuild, ${seconds(timesMs.trees)} source tree, ${seconds(timesMs.own)} rekernel. ` +
    `It replaces ${replaced}. The stock image has that code byte for byte, and ${match.identicalFunctions} ` +
    `of the ${match.comparedFunctions} functions that its source file compiles to.`
  );
}
