import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import { bootableKernel } from "../../src/kernel/target.ts";
import { bootVm, type Vm } from "../../src/lab/vm.ts";
import { builtExecutable } from "./executable.ts";
import { testKernels } from "./kernels.ts";

let rekernel: string;
beforeAll(async () => {
  rekernel = await builtExecutable();
});

async function cli(vm: Vm, ...args: string[]) {
  const { exitCode, stdout } = await vm.run([rekernel, "kexec", ...args, "--json"]);
  return { exitCode, result: JSON.parse(stdout) };
}

/** A network card whose driver was never loaded, with bus mastering on as firmware may leave it. */
const untended = "0000:00:0e.0";
const watchdog = "0000:00:0f.0";

test("quiesces real devices, lets hooks refuse, and goes down without systemd", async () => {
  const { previous, newest } = await testKernels();
  const share = await mkdtemp(join(tmpdir(), "rekernel-test-"));
  onTestFinished(() => rm(share, { recursive: true }));
  await using vm = await bootVm({
    kernel: await bootableKernel(previous),
    nextKernels: [await bootableKernel(newest)],
    share,
    devices: ["e1000e,addr=0x0e,romfile=", "i6300esb,addr=0x0f"],
    // A file system of the network that needs none: AFS with a made-up root. Its ciphers are loaded by name.
    modules: ["i6300esb", "fcrypt", "pcbc", "kafs"],
    commandLine: "watchdog.stop_on_reboot=0",
  });
  const config = `/sys/bus/pci/devices/${untended}/config`;
  await vm.run(`printf '\\007' | dd of=${config} bs=1 seek=4 conv=notrunc`);
  expect((await vm.run("mkdir /tmp/afs && mount -t afs -o dyn none /tmp/afs")).exitCode).toBe(0);
  const { pid: holder } = await vm.start("cd /tmp/afs && exec sleep 10000");

  const folder = `/lab/kernels/${newest}`;
  const next = [`${folder}/vmlinuz`, "--initrd", `${folder}/initrd`, "--reuse-cmdline"];
  const found = await cli(vm, "preflight");
  expect(found.exitCode).toBe(4);
  expect(found.result.findings[0]).toMatchObject({
    check: "devices",
    severity: "blocks",
    items: [`${untended} network`],
    remedies: [{ action: "bus-master-off", target: untended }],
  });
  expect(await cli(vm, ...next)).toMatchObject({
    exitCode: 4,
    result: { stoppedBy: ["devices"], loaded: false },
  });
  expect((await cli(vm, ...next, "--dry-run", "--ignore", "devices")).result).toMatchObject({
    stoppedBy: [],
    ignored: ["devices"],
    loaded: false,
  });

  const first = await cli(vm, "preflight", "--quiesce");
  expect(first.exitCode).toBe(0);
  expect(first.result.quieted).toEqual([
    { action: "bus-master-off", target: untended, done: true, before: "bus mastering on", after: "off" },
    {
      action: "unmount",
      target: "/tmp/afs",
      done: false,
      before: "afs from none",
      after: `in use by sleep (process ${holder}): left as it is`,
    },
    {
      action: "arm-watchdog",
      target: "watchdog0",
      done: true,
      before: "not armed",
      after: expect.stringMatching(/^armed: resets the machine at [\d:]{8}, in 600 seconds/),
    },
  ]);
  expect([...(await vm.readFile(config)).subarray(4, 5)]).toEqual([0x03]);
  expect((await vm.run("cat /sys/class/watchdog/watchdog0/state")).stdout).toBe("active\n");
  await vm.run(`kill ${holder}; echo V >/dev/watchdog0`);
  expect((await vm.run("cat /sys/class/watchdog/watchdog0/state")).stdout).toBe("inactive\n");

  // A hook refuses: nothing stays loaded, and the watchdog is let go. What was unmounted stays so.
  const hooks = "/etc/rekernel/kexec.d/pre-exec";
  await vm.run(
    `mkdir -p ${hooks}; printf '#!/bin/sh\\necho not now; exit 3\\n' >${hooks}/10-no; chmod +x ${hooks}/10-no`,
  );
  expect(await cli(vm, ...next, "--quiesce")).toMatchObject({
    exitCode: 4,
    result: { error: { code: "RK-KEXEC-HOOK", details: "not now" } },
  });
  expect((await cli(vm, "status")).result).toMatchObject({ loaded: false });
  expect((await vm.run("cat /sys/class/watchdog/watchdog0/state; grep -c afs /proc/mounts")).stdout).toBe(
    "inactive\n0\n",
  );

  expect((await cli(vm, "preflight", "--unbind", watchdog)).result.quieted).toEqual([
    { action: "unbind", target: watchdog, done: true, before: "driver i6300ESB timer", after: "no driver" },
  ]);

  await vm.run(`printf '#!/bin/sh\\necho "$REKERNEL_KEXEC_RELEASE" >/share/hook\\n' >${hooks}/10-no`);
  await vm.start("trap 'echo asked >/share/program; exit' TERM; while :; do sleep 1; done");
  await vm.start([rekernel, "kexec", ...next, "--append", "rekernel.test=going"]);
  await vm.waitForBoot();
  expect(vm.release()).toBe(newest);
  expect((await vm.run("cat /proc/cmdline")).stdout).toContain("rekernel.test=going");
  expect(await readFile(join(share, "hook"), "utf8")).toBe(`${newest}\n`);
  expect(await readFile(join(share, "program"), "utf8")).toBe("asked\n");
});
