import { beforeAll, expect, test } from "vitest";
import { bootableKernel } from "../../src/kernel/target.ts";
import { bootVm } from "../../src/lab/vm.ts";
import { builtExecutable } from "./executable.ts";
import { testKernels } from "./kernels.ts";

let rekernel: string;
beforeAll(async () => {
  rekernel = await builtExecutable();
});

test("a link called kexec stands in for kexec-tools", async () => {
  const { previous, newest } = await testKernels();
  await using vm = await bootVm({
    kernel: await bootableKernel(previous),
    nextKernels: [await bootableKernel(newest)],
    network: true,
  });
  const firstBoot = vm.bootId();
  await vm.run(["ln", "-s", rekernel, "/usr/local/sbin/kexec"]);
  const kexec = async (...words: string[]) => vm.run(["/usr/local/sbin/kexec", ...words]);
  const quiet = { stdout: "", stderr: "" };
  const folder = `/lab/kernels/${newest}`;
  const [image, initrd] = [`${folder}/vmlinuz`, `${folder}/initrd`];

  // As Debian's init script kexec-load calls it.
  const running = (await vm.run("cat /proc/cmdline")).stdout.trim();
  expect(await kexec("-l", image, `--initrd=${initrd}`, `--append=${running}`)).toEqual({
    exitCode: 0,
    ...quiet,
  });
  expect(await kexec("-S", "-l")).toEqual({ exitCode: 1, ...quiet });
  expect(await kexec("-S")).toEqual({ exitCode: 0, ...quiet });
  expect(await kexec("-u")).toEqual({ exitCode: 0, ...quiet });
  expect(await kexec("-Sl")).toEqual({ exitCode: 0, ...quiet });
  expect(await kexec("-e")).toEqual({ exitCode: 1, stdout: "", stderr: "Nothing has been loaded!\n" });
  expect((await vm.run("cat /sys/class/net/eth0/flags")).stdout).toBe("0x1003\n");

  // As systemctl kexec calls it, with what shells' getopt rules leave open.
  expect(await kexec("--load", image, "--append", "rekernel.test=3", "--init", initrd, "--reuse-c")).toEqual({
    exitCode: 0,
    ...quiet,
  });
  await vm.start(["/usr/local/sbin/kexec", "-e"]);
  await vm.waitForBoot();
  expect(vm.bootId()).not.toBe(firstBoot);
  expect(vm.release()).toBe(newest);
  expect((await vm.run("cat /proc/cmdline")).stdout.trim()).toBe(`${running} rekernel.test=3`);
});
