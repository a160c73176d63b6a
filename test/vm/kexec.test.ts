import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { bootableKernel } from "../../src/kernel/target.ts";
import { bootVm, type Vm } from "../../src/lab/vm.ts";
import { buildUki } from "../unit/formats/build-pe.ts";
import { builtExecutable } from "./executable.ts";
import { testKernels } from "./kernels.ts";

let rekernel: string;
beforeAll(async () => {
  rekernel = await builtExecutable();
});

async function cli(vm: Vm, ...args: string[]) {
  const { exitCode, stdout } = await vm.run([rekernel, ...args, "--json"]);
  return { exitCode, result: JSON.parse(stdout) };
}

/** Jumps with what is loaded and returns when the next kernel is up. */
async function jump(vm: Vm): Promise<void> {
  await vm.start([rekernel, "kexec", "exec"]);
  await vm.waitForBoot();
}

describe("rekernel kexec", () => {
  test("takes 6.12 into the next 6.12, after all that can be refused", async () => {
    const { previous, newest } = await testKernels();
    const next = await bootableKernel(newest);
    await using vm = await bootVm({ kernel: await bootableKernel(previous), nextKernels: [next] });
    const firstBoot = vm.bootId();
    const folder = `/lab/kernels/${newest}`;
    const [image, initrd] = [`${folder}/vmlinuz`, `${folder}/initrd`];

    expect(await cli(vm, "kexec", "status")).toMatchObject({
      exitCode: 0,
      result: { running: previous, supported: true, loaded: false, loadDisabled: false },
    });
    expect(await cli(vm, "kexec", "exec")).toMatchObject({
      exitCode: 1,
      result: { error: { code: "RK-KEXEC-NOT-LOADED" } },
    });
    expect(await cli(vm, "kexec", "unload")).toMatchObject({ exitCode: 3 });

    // Cut off behind what any boot header covers: the kernel itself must not be asked.
    await vm.run(`head -c 4000000 ${image} >/tmp/truncated; head -c 100000 /dev/urandom >/tmp/random`);
    for (const path of ["/tmp/truncated", "/tmp/random"])
      expect(await cli(vm, "kexec", "load", path)).toMatchObject({
        exitCode: 1,
        result: { error: { code: "RK-BAD-IMAGE" } },
      });
    expect(await cli(vm, "kexec", "load", "/bin/true")).toMatchObject({
      result: { error: { code: "RK-BAD-IMAGE" } },
    });
    expect(await cli(vm, "kexec", "load", image, "--initrd", "/tmp/none")).toMatchObject({
      exitCode: 1,
      result: { error: { code: "RK-FILE" } },
    });
    expect(await cli(vm, "kexec", "load", image, "--append", "x".repeat(3000))).toMatchObject({
      exitCode: 4,
      result: { error: { code: "RK-COMMAND-LINE-TOO-LONG" } },
    });

    const args = ["--initrd", initrd, "--reuse-cmdline", "--append", "rekernel.test=1"];
    const nobody = async (...words: string[]) => {
      const command = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        rekernel,
        ...words,
        "--json",
      ];
      const { exitCode, stdout } = await vm.run(command);
      return { exitCode, result: JSON.parse(stdout) };
    };
    expect(await nobody("kexec", "load", image, ...args)).toMatchObject({
      exitCode: 5,
      result: { error: { code: "RK-NOT-ROOT" } },
    });
    expect(await cli(vm, "kexec", "load", image, ...args)).toMatchObject({
      exitCode: 0,
      result: { image, initrds: [{ from: initrd }], release: newest },
    });
    expect((await cli(vm, "kexec", "status")).result).toMatchObject({ loaded: true });
    // Others can neither start it nor drop it.
    for (const verb of ["exec", "unload"])
      expect(await nobody("kexec", verb)).toMatchObject({
        exitCode: 5,
        result: { error: { code: "RK-NOT-ROOT" } },
      });
    // Loaded twice, by either call: the second one replaces the first. An initrd that is cut off is noted.
    await vm.run(`head -c 100000 ${initrd} >/tmp/cut`);
    for (const syscall of ["kexec_load", "kexec_file_load"]) {
      const again = await cli(vm, "kexec", "load", image, "--initrd", "/tmp/cut", "--syscall", syscall);
      expect(again).toMatchObject({ exitCode: 0, result: { loaded: true, method: syscall } });
      expect(again.result.notes.join()).toMatch(/\/tmp\/cut is cut off/);
    }
    expect((await cli(vm, "kexec", "unload")).exitCode).toBe(0);
    expect((await cli(vm, "kexec", "status")).result).toMatchObject({ loaded: false });

    const preflight = await cli(vm, "kexec", "preflight");
    expect(preflight.result.findings).toContainEqual(
      expect.objectContaining({ check: "devices", severity: "notes" }),
    );

    // The kernel that a reboot would start, by a boot loader's configuration.
    const running = (await vm.run("cat /proc/cmdline")).stdout.trim();
    await vm.run(`mkdir -p /tmp/root/boot/grub && cp ${image} /tmp/root/boot/vmlinuz-${newest}`);
    await vm.run(`cp ${initrd} /tmp/root/boot/initrd.img-${newest}`);
    const entry = `menuentry "Next" {\n linux /boot/vmlinuz-${newest} ${running}\n initrd /boot/initrd.img-${newest}\n}\n`;
    await vm.writeFile("/tmp/root/boot/grub/grub.cfg", Buffer.from(`set default="0"\n${entry}`));
    const listed = await cli(vm, "kexec", "list", "--root", "/tmp/root");
    expect(listed).toMatchObject({ exitCode: 0, result: { loader: "grub", chosen: 0 } });
    const loaded = await cli(vm, "kexec", "load", "--root", "/tmp/root", "--append", "rekernel.test=1");
    expect(loaded).toMatchObject({ exitCode: 0, result: { release: newest, loaded: true } });
    await jump(vm);
    expect(vm.bootId()).not.toBe(firstBoot);
    expect((await vm.run("uname -r")).stdout.trim()).toBe(newest);
    const commandLine = (await vm.run("cat /proc/cmdline")).stdout.trim();
    expect(commandLine).toBe(loaded.result.commandLine);
    expect(commandLine).toMatch(/ rekernel\.test=1$/);

    // Switched off for good: the reason and what to do are named.
    await vm.run("echo 1 >/proc/sys/kernel/kexec_load_disabled");
    expect(await cli(vm, "kexec", "load", image, ...args)).toMatchObject({
      exitCode: 5,
      result: { error: { code: "RK-KEXEC-DISABLED" } },
    });
  });

  test("takes 6.1 into a unified image of 6.12, with files laid over its initrd, all from memory", async () => {
    const { series61, newest } = await testKernels();
    const next = await bootableKernel(newest);
    const share = await mkdtemp(join(tmpdir(), "rekernel-test-"));
    onTestFinished(() => rm(share, { recursive: true }));
    await using vm = await bootVm({ kernel: await bootableKernel(series61), nextKernels: [next], share });
    const firstBoot = vm.bootId();
    const folder = `/lab/kernels/${newest}`;
    const commandLine = `${(await vm.run(`cat ${folder}/cmdline`)).stdout.trim()} rekernel.test=2`;
    const image = buildUki([
      [".linux", await readFile(next.image)],
      [".initrd", await vm.readFile(`${folder}/initrd`)],
      [".cmdline", commandLine],
      [".uname", newest],
    ]);
    await writeFile(join(share, "next.efi"), image);
    await vm.run("mkdir /tmp/over && echo laid over >/tmp/over/proof");
    const loaded = await cli(vm, "kexec", "load", "/share/next.efi", "--overlay", "/tmp/over");
    expect(loaded).toMatchObject({ exitCode: 0, result: { loaded: true, release: newest, commandLine } });
    expect(loaded.result.initrds).toHaveLength(2);
    await vm.run("rm -r /tmp/over");
    await rm(join(share, "next.efi"));
    await jump(vm);
    expect(vm.bootId()).not.toBe(firstBoot);
    expect((await vm.run("uname -r")).stdout.trim()).toBe(newest);
    expect((await vm.run("cat /proc/cmdline")).stdout.trim()).toBe(commandLine);
    expect((await vm.run("cat /proc/1/root/proof")).stdout.trim()).toBe("laid over");
  });
});
