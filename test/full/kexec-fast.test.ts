import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import { bootableKernel } from "../../src/kernel/target.ts";
import { bootVm } from "../../src/lab/vm.ts";
import { builtExecutable } from "../vm/executable.ts";
import { testKernels } from "../vm/kernels.ts";

let rekernel: string;
beforeAll(async () => {
  rekernel = await builtExecutable();
});

test("the fast path: 6.1 to 6.12 and back, unpacked and verified before the jump", async () => {
  const { series61, newest } = await testKernels();
  const share = await mkdtemp(join(tmpdir(), "rekernel-test-"));
  onTestFinished(() => rm(share, { recursive: true }));
  await using vm = await bootVm({
    kernel: await bootableKernel(series61),
    nextKernels: [await bootableKernel(newest)],
    share,
  });
  const bases = new Set(["ffffffff81000000"]);
  for (const release of [newest, series61, newest, series61]) {
    const folder = `/lab/kernels/${release}`;
    // What each kernel's initramfs-tools may pack with.
    const pack = release === newest ? "xz -1 --check=crc32" : "gzip -1";
    await vm.run(`${pack} <${folder}/initrd >/tmp/initrd`);
    const files = [`${folder}/vmlinuz`, "--initrd", "/tmp/initrd", "--reuse-cmdline", "--json"];
    const { exitCode, stdout, stderr } = await vm.run([rekernel, "kexec", "load", ...files]);
    expect(exitCode, stdout + stderr).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      release,
      method: "kexec_load",
      kernelForm: "decompressed",
      initrdForm: "decompressed",
      layout: { digest: "sum" },
    });
    await vm.start(`exec ${rekernel} kexec exec --now --json >/share/exec.json`);
    await vm.waitForBoot();
    expect(vm.release()).toBe(release);
    expect(JSON.parse((await readFile(join(share, "exec.json"))).toString())).toMatchObject({
      before: { verified: true },
    });
    bases.add((await vm.run("grep ' _text$' /proc/kallsyms")).stdout.slice(0, 16));
  }
  // One of some hundred slides may come up twice, once in a while.
  expect(bases.size).toBeGreaterThanOrEqual(4);
});
