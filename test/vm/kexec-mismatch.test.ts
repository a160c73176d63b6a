import { join } from "node:path";
import { expect, test } from "vitest";
import { bootableKernel } from "../../src/kernel/target.ts";
import { bootVm } from "../../src/lab/vm.ts";
import { bundle } from "./bundle.ts";
import { builtExecutable } from "./executable.ts";
import { testKernels } from "./kernels.ts";

test("what kexec_load loaded can be read back; if it is not what lies there after the jump, the machine is reset", async () => {
  const { previous, newest } = await testKernels();
  const rekernel = await builtExecutable();
  const script = await bundle(join(import.meta.dirname, "purgatory/load-in-guest.ts"));
  await using vm = await bootVm({
    kernel: await bootableKernel(previous),
    nextKernels: [await bootableKernel(newest)],
  });
  const [image, initrd] = [`/lab/kernels/${newest}/vmlinuz`, `/lab/kernels/${newest}/initrd`];

  // A purgatory that expects an initrd in which one bit is different.
  const { exitCode, stdout, stderr } = await vm.run([process.execPath, script, image, initrd]);
  expect(exitCode, stderr).toBe(0);
  const { address, right, wrong } = JSON.parse(stdout);
  expect(right).toEqual({ state: "intact" });
  expect(wrong).toMatchObject({
    state: "differs",
    sameLayout: true,
  });
  for (const difference of wrong.differences)
    expect(difference).toMatch(/^The kernel[ +0-9a-fx]* at 0x[0-9a-f]+ is not what was loaded: its SHA-256/);

  const [firstBoot, before] = [vm.bootId(), vm.console().length];
  await vm.start([rekernel, "kexec", "exec", "--now"]);
  await vm.waitForBoot();
  const said = new RegExp(
    `rekernel: initrd at ${address} \\(\\d+ bytes\\) is not what was loaded\\r?\\nrekernel: resetting the machine`,
  );
  expect(vm.console().slice(before)).toMatch(said);
  expect(vm.bootId()).not.toBe(firstBoot);
  expect(vm.release()).toBe(previous);
});
