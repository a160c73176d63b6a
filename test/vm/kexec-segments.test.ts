import { join } from "node:path";
import { expect, test } from "vitest";
import { bootableKernel } from "../../src/kernel/target.ts";
import { bootVm } from "../../src/lab/vm.ts";
import { builtExecutable } from "./executable.ts";
import { testKernels } from "./kernels.ts";

const script = join(import.meta.dirname, "purgatory/load-in-guest.ts");

test("kexec_load: a mismatch resets the machine, what was loaded can be read back, and 6.12 starts 6.12", async () => {
  const { previous, newest } = await testKernels();
  const rekernel = await builtExecutable();
  await using vm = await bootVm({
    kernel: await bootableKernel(previous),
    nextKernels: [await bootableKernel(newest)],
  });
  const folder = `/lab/kernels/${newest}`;
  const [image, initrd] = [`${folder}/vmlinuz`, `${folder}/initrd`];

  // A purgatory that expects an initrd in which one bit is different.
  const { stdout, stderr } = await vm.run([process.execPath, script, image, initrd, "sha256"]);
  expect(stdout, stderr).not.toBe("");
  const { address, right, wrong } = JSON.parse(stdout);
  expect(right).toEqual({ state: "intact" });
  expect(wrong).toMatchObject({
    state: "differs",
    differences: [expect.stringMatching(/^The kernel at 0x[0-9a-f]+ is not what was loaded: its SHA-256/)],
  });
  const before = vm.console().length;
  await vm.start([rekernel, "kexec", "exec", "--now"]);
  await vm.waitForBoot();
  expect(vm.console().slice(before)).toMatch(
    new RegExp(
      `rekernel: initrd at ${address} \\(\\d+ bytes\\) is not what was loaded\\.\\r?\\nrekernel: resetting the machine\\.`,
    ),
  );
  expect(vm.release()).toBe(previous);

  // The same with the purgatory as it should be.
  const load = ["kexec", "load", image, "--initrd", initrd, "--reuse-cmdline", "--append", "rekernel.test=3"];
  const loaded = await vm.run([rekernel, ...load, "--syscall", "kexec_load", "--json"]);
  expect(loaded, loaded.stderr).toMatchObject({ exitCode: 0 });
  await vm.start([rekernel, "kexec", "exec", "--now"]);
  await vm.waitForBoot();
  expect(vm.release()).toBe(newest);
  expect((await vm.run("cat /proc/cmdline")).stdout.trim()).toMatch(/ rekernel\.test=3$/);
});
