import { dirname } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { bootableKernel } from "../../src/kernel/target.ts";
import { bootVm, type Vm } from "../../src/lab/vm.ts";
import { furnishGuest, witness } from "../vm/debian-guest.ts";
import { builtExecutable } from "../vm/executable.ts";
import { testKernels } from "../vm/kernels.ts";
import { debianSystem } from "./debian-system.ts";

let rekernel: string;
let system: string;
beforeAll(async () => {
  rekernel = await builtExecutable();
  system = await debianSystem();
});

/** Answers in one line each, to tell at once what is left of a trial. */
const leftovers = `for file in /var/lib/rekernel/* /etc/systemd/system/rekernel* /etc/systemd/system/*/rekernel*; do
  [ -e "$file" ] || [ -L "$file" ] && echo "$file"
done; grep -c next_entry= /boot/grub/grubenv; cat /proc/sys/kernel/panic`;
const nothingLeft = "0\n0\n";

async function json(vm: Vm, command: string) {
  const { exitCode, stdout } = await vm.run(`/share/rekernel ${command} --json`);
  return { exitCode, result: JSON.parse(stdout) };
}

/** Boots may come and go unseen: what counts is which kernel is there in the end. */
async function waitForRelease(vm: Vm, release: string): Promise<void> {
  do await vm.waitForBoot({ timeoutMs: 600_000 });
  while (vm.release() !== release);
  await vm.run("systemctl is-system-running --wait");
}

test("the old kernel comes back from a kernel that nobody confirms, and stays away from one that is", async () => {
  const { previous, newest } = await testKernels();
  await using vm = await bootVm({
    kernel: await bootableKernel(previous),
    nextKernels: [await bootableKernel(newest)],
    disks: [system],
    ownSystem: true,
    share: dirname(rekernel),
    devices: ["i6300esb"],
    modules: ["i6300esb"],
    // Or the driver stops the watchdog at the jump.
    commandLine: "watchdog.stop_on_reboot=0",
  });
  await vm.run("systemctl is-system-running --wait");
  await furnishGuest(vm, newest, previous);
  expect((await json(vm, "kexec confirm")).exitCode).toBe(3);

  // Nobody confirms it: back by kexec.
  await vm.start("/share/rekernel kexec --fallback 2.5 --json >/var/trial 2>&1");
  await waitForRelease(vm, previous);
  expect((await vm.run("cat /proc/cmdline")).stdout).not.toContain("rekernel.trial");
  expect(await witness(vm)).toEqual([
    `start ${previous}`,
    `pre-load ${newest}`,
    `pre-exec ${newest}`,
    `stop ${previous}`,
    `start ${newest}`,
    `stop ${newest}`,
    `start ${previous}`,
  ]);
  const told = JSON.parse(
    /\n(\{\n[\s\S]*)$/.exec(`\n${(await vm.run("grep -v '^{\"progress' /var/trial")).stdout}`)![1]!,
  );
  expect(told).toMatchObject({
    by: "init",
    fallback: {
      minutes: 2.5,
      release: previous,
      bootEntry: "old",
      notes: [expect.stringMatching(/watchdog0 is armed with 600 seconds and runs on/)],
    },
  });
  await expect.poll(async () => (await vm.run(leftovers)).stdout, { timeout: 300_000 }).toBe(nothingLeft);
  expect((await json(vm, "kexec status")).result).not.toHaveProperty("trial");

  // Confirmed: it stays, and nothing is left.
  await vm.start("/share/rekernel kexec --fallback 15 --json >/var/trial 2>&1");
  await waitForRelease(vm, newest);
  const armed = await json(vm, "kexec status");
  expect(armed.result.trial).toMatchObject({ state: "trial", old: previous, next: newest, minutes: 15 });
  expect(armed.result.trial.secondsLeft).toBeGreaterThan(0);
  const { stdout: before } = await vm.run(leftovers);
  expect(before).toContain("fallback.json");
  expect(before).toContain("\n1\n15\n");
  expect((await vm.run("cat /sys/class/watchdog/watchdog0/state")).stdout).toBe("active\n");
  expect(await json(vm, "kexec confirm")).toEqual({
    exitCode: 0,
    result: { running: newest, old: previous },
  });
  expect((await vm.run(leftovers)).stdout).toBe(nothingLeft);
  await expect
    .poll(async () => (await vm.run("cat /sys/class/watchdog/watchdog0/state")).stdout, { timeout: 300_000 })
    .toBe("inactive\n");
  expect((await json(vm, "kexec confirm")).exitCode).toBe(3);
});
