import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { bootableKernel } from "../../src/kernel/target.ts";
import { bootVm } from "../../src/lab/vm.ts";
import { builtExecutable } from "../vm/executable.ts";
import { testKernels } from "../vm/kernels.ts";
import { debianSystem } from "./debian-system.ts";
import { seconds } from "./kexec-guest.ts";

let rekernel: string;
beforeAll(async () => {
  rekernel = await builtExecutable();
});

const kexecTools = existsSync("/etc/init.d/kexec-load") && existsSync("/sbin/kexec");

describe.skipIf(!kexecTools)(
  "Debian's package kexec-tools, with rekernel in the place of its program",
  () => {
    test("answers the same in every state, and its init scripts load and jump", async () => {
      const { previous, newest } = await testKernels();
      await using vm = await bootVm({
        kernel: await bootableKernel(previous),
        nextKernels: [await bootableKernel(newest)],
        network: true,
      });
      const firstBoot = vm.bootId();
      const folder = `/lab/kernels/${newest}`;
      const divert = "dpkg-divert --add --rename --divert /sbin/kexec.kexec-tools /sbin/kexec";
      expect(await vm.run(`${divert} >/dev/null && ln -s ${rekernel} /sbin/kexec`)).toMatchObject({
        exitCode: 0,
        stderr: "",
      });

      // The same lines to both, with nothing loaded and with something loaded.
      const compare = async (line: string) => {
        const own = await vm.run(`/sbin/kexec ${line}`);
        const real = await vm.run(`/sbin/kexec.kexec-tools ${line}`);
        expect({ line, exitCode: own.exitCode }).toEqual({ line, exitCode: real.exitCode });
        return own;
      };
      const load = `-l ${folder}/vmlinuz --initrd=${folder}/initrd --reuse-cmdline`;
      for (const line of [
        "-S",
        "-S -p",
        "-u",
        "-e",
        "-u -p -s",
        "-p -u -s",
        `-s ${load}`,
        "-S",
        "-u -s",
        `-s -l ${folder}/cmdline`,
        `-s -l ${folder}/vmlinuz --initrd=/nonexistent --append=x`,
        `-s -l ${folder}/vmlinuz --append=${"x".repeat(3000)}`,
      ])
        await compare(line);
      expect((await vm.run("cat /sys/kernel/kexec_loaded")).stdout).toBe("0\n");

      // Without systemd the scripts want to know the runlevel; without sysvinit they do not ask.
      await vm.run("rm -f /sbin/runlevel /usr/sbin/runlevel");
      const settings = `LOAD_KEXEC=true\nKERNEL_IMAGE=${folder}/vmlinuz\nINITRD=${folder}/initrd\n`;
      const line = `${(await vm.run("cat /proc/cmdline")).stdout.trim()} rekernel.test=init`;
      await vm.writeFile("/etc/default/kexec", `${settings}APPEND="${line}"\n`);
      const loaded = await vm.run("/etc/init.d/kexec-load stop");
      expect(loaded.exitCode, loaded.stderr).toBe(0);
      expect((await vm.run("cat /sys/kernel/kexec_loaded")).stdout).toBe("1\n");
      const startedMs = performance.now();
      await vm.start("/etc/init.d/kexec stop");
      await vm.waitForBoot();
      console.log(`through /etc/init.d/kexec: ${seconds(performance.now() - startedMs)}`);
      expect(vm.bootId()).not.toBe(firstBoot);
      expect(vm.release()).toBe(newest);
      expect((await vm.run("cat /proc/cmdline")).stdout.trim()).toBe(line);
    });
  },
);

test("systemctl kexec, at whose end systemd calls kexec -e", async () => {
  const { previous, newest } = await testKernels();
  await using vm = await bootVm({
    kernel: await bootableKernel(previous),
    nextKernels: [await bootableKernel(newest)],
    disks: [await debianSystem()],
    ownSystem: true,
  });
  const firstBoot = vm.bootId();
  await vm.writeFile("/usr/local/sbin/rekernel", await readFile(rekernel));
  await vm.run("chmod 755 /usr/local/sbin/rekernel && ln -s /usr/local/sbin/rekernel /sbin/kexec");
  // A service that says on the disk that it was stopped in order.
  await vm.writeFile(
    "/run/systemd/system/witness.service",
    "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=true\nExecStop=cp /proc/uptime /var/witness\n",
  );
  await vm.run("systemctl daemon-reload && systemctl start witness");
  const folder = `/lab/kernels/${newest}`;
  const line = `${(await vm.run(`cat ${folder}/cmdline`)).stdout.trim()} rekernel.test=systemctl`;
  const loaded = await vm.run([
    "kexec",
    "-l",
    `${folder}/vmlinuz`,
    `--initrd=${folder}/initrd`,
    `--append=${line}`,
  ]);
  expect(loaded).toEqual({ exitCode: 0, stdout: "", stderr: "" });
  const startedMs = performance.now();
  await vm.start("systemctl kexec");
  await vm.waitForBoot({ timeoutMs: 900_000 });
  console.log(`systemctl kexec: ${seconds(performance.now() - startedMs)}`);
  expect(vm.bootId()).not.toBe(firstBoot);
  expect(vm.release()).toBe(newest);
  expect((await vm.run("cat /proc/cmdline")).stdout.trim()).toBe(line);
  expect((await vm.run("test -s /var/witness")).exitCode).toBe(0);
  expect(vm.console()).toContain("Rebooting with kexec");
});
