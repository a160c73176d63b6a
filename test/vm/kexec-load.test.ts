import { beforeAll, describe, expect, test } from "vitest";
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

async function jump(vm: Vm): Promise<void> {
  await vm.start([rekernel, "kexec", "exec", "--now"]);
  await vm.waitForBoot();
}

/** What a kernel was told of the machine: the firmware's memory map and where ACPI's tables begin. */
async function toldOfMachine(vm: Vm) {
  const log = await vm.dmesg();
  return {
    memory: [...log.matchAll(/BIOS-e820: (\[mem .*)$/gm)].map(([, range]) => range),
    rsdp: /ACPI: RSDP (0x[0-9A-Fa-f]+)/.exec(log)?.[1],
  };
}

describe("rekernel kexec load --syscall kexec_load", () => {
  test("takes 6.12 into the next one by the 64-bit entry, and back by the 32-bit entry", async () => {
    const { previous, newest } = await testKernels();
    const next = await bootableKernel(newest);
    await using vm = await bootVm({ kernel: await bootableKernel(previous), nextKernels: [next] });
    const boots = [vm.bootId()];
    const told = await toldOfMachine(vm);
    expect(told.memory.length).toBeGreaterThan(3);
    const load = (release: string, word: string, ...more: string[]) => {
      const folder = `/lab/kernels/${release}`;
      const files = [`${folder}/vmlinuz`, "--initrd", `${folder}/initrd`];
      return cli(
        vm,
        "load",
        ...files,
        "--reuse-cmdline",
        "--append",
        word,
        "--syscall",
        "kexec_load",
        "--no-unpack",
        ...more,
      );
    };

    const planned = await load(newest, "rekernel.test=64", "--dry-run");
    expect(planned).toMatchObject({ exitCode: 0, result: { loaded: false, method: "kexec_load" } });
    const { segments, kernelEntry } = planned.result.layout;
    expect(segments.map(({ name }: { name: string }) => name)).toEqual([
      "kernel",
      "purgatory",
      "boot_params",
      "initrd",
    ]);
    expect(BigInt(kernelEntry)).toBe(BigInt(segments[0].start) + 0x200n);

    // Either call drops what kexec_load loaded.
    expect(await load(newest, "rekernel.test=64")).toMatchObject({ exitCode: 0, result: { loaded: true } });
    expect((await cli(vm, "status")).result).toMatchObject({ loaded: true });
    expect((await cli(vm, "unload")).exitCode).toBe(0);
    expect((await cli(vm, "status")).result).toMatchObject({ loaded: false });

    const loaded = await load(newest, "rekernel.test=64");
    await jump(vm);
    boots.push(vm.bootId());
    expect((await vm.run("uname -r")).stdout.trim()).toBe(newest);
    expect((await vm.run("cat /proc/cmdline")).stdout.trim()).toBe(loaded.result.commandLine);
    expect(loaded.result.commandLine).toMatch(/ rekernel\.test=64$/);
    // 0xD: kexec, as kexec_file_load says it, too.
    expect((await vm.run("cat /proc/sys/kernel/bootloader_type")).stdout.trim()).toBe(String(0xd0));
    expect(await toldOfMachine(vm)).toEqual(told);

    const back = await load(previous, "rekernel.test=32", "--entry-32bit");
    expect(back).toMatchObject({ exitCode: 0, result: { loaded: true } });
    expect(back.result.layout.kernelEntry).toBe(back.result.layout.segments[0].start);
    await jump(vm);
    boots.push(vm.bootId());
    expect((await vm.run("uname -r")).stdout.trim()).toBe(previous);
    expect((await vm.run("cat /proc/cmdline")).stdout.trim()).toMatch(/ rekernel\.test=32$/);
    expect(await toldOfMachine(vm)).toEqual(told);
    expect(new Set(boots).size).toBe(3);
  });
});
