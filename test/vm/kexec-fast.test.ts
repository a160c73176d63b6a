import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { readBzImage, unpackPayload } from "../../src/formats/bzimage.ts";
import { bootableKernel } from "../../src/kernel/target.ts";
import { bootVm, type Vm } from "../../src/lab/vm.ts";
import { builtExecutable } from "./executable.ts";
import { testKernels } from "./kernels.ts";

let rekernel: string;
beforeAll(async () => {
  rekernel = await builtExecutable();
});

/** Where the kernel's code lies. */
async function base(vm: Vm): Promise<string> {
  return (await vm.run("grep ' _text$' /proc/kallsyms")).stdout.slice(0, 16);
}

describe("the fast path of kexec", () => {
  test("starts 6.12 unpacked beforehand, verified before the jump, at another address each time", async () => {
    const kernel = await bootableKernel((await testKernels()).newest);
    const share = await mkdtemp(join(tmpdir(), "rekernel-test-"));
    onTestFinished(() => rm(share, { recursive: true }));
    await using vm = await bootVm({ kernel, share });
    const folder = `/lab/kernels/${kernel.release}`;
    const bases = ["ffffffff81000000", await base(vm)];
    await vm.run(`gzip -1 <${folder}/initrd >/tmp/initrd.gz`);

    const load = async (image: string, word: string) => {
      const words = ["--initrd", "/tmp/initrd.gz", "--reuse-cmdline", "--append", word, "--json"];
      const { exitCode, stdout, stderr } = await vm.run([rekernel, "kexec", "load", image, ...words]);
      expect(exitCode, stdout + stderr).toBe(0);
      return JSON.parse(stdout);
    };
    const jump = async (name: string) => {
      const before = vm.bootId();
      await vm.start(`exec ${rekernel} kexec exec --now --json >/share/${name}.json`);
      await vm.waitForBoot();
      expect(vm.bootId()).not.toBe(before);
      bases.push(await base(vm));
      return JSON.parse((await readFile(join(share, `${name}.json`))).toString());
    };

    const plan = await load(`${folder}/vmlinuz`, "rekernel.test=fast");
    expect(plan).toMatchObject({
      method: "kexec_load",
      kind: "bzimage",
      kernelForm: "decompressed",
      initrdForm: "decompressed",
      layout: { digest: "sum" },
    });
    expect(plan.layout.segments.map(({ name }: { name: string }) => name).join()).toMatch(/kernel \+0x0/);
    expect(await jump("first")).toMatchObject({ by: "here", before: { verified: true } });
    expect((await vm.run("cat /proc/cmdline")).stdout).toContain("rekernel.test=fast");

    // The same kernel as a file of its own, with the relocations that its vmlinuz carries.
    const image = readBzImage(await readFile(kernel.image), kernel.image);
    await writeFile(join(share, "vmlinux"), unpackPayload(image, kernel.image));
    await vm.run(`gzip -1 <${folder}/initrd >/tmp/initrd.gz`);
    expect(await load("/share/vmlinux", "rekernel.test=vmlinux")).toMatchObject({ kind: "vmlinux" });
    expect(await jump("second")).toMatchObject({ before: { verified: true } });
    expect((await vm.run("cat /proc/cmdline")).stdout).toContain("rekernel.test=vmlinux");
    expect((await vm.run("uname -r")).stdout.trim()).toBe(kernel.release);

    // One of some hundred slides may come up twice, once in a while.
    expect(new Set(bases).size).toBeGreaterThanOrEqual(3);
  });
});
