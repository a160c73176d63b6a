import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { parseGivenMap } from "../../src/formats/iomem.ts";
import { bootableKernel } from "../../src/kernel/target.ts";
import { bootVm, type Vm } from "../../src/lab/vm.ts";
import { builtExecutable } from "../vm/executable.ts";
import { testKernels } from "../vm/kernels.ts";

const script = join(import.meta.dirname, "memory-map/load-in-guest.ts");

let rekernel: string;
beforeAll(async () => {
  rekernel = await builtExecutable();
});

/** What a kernel knows of the firmware; the variables come out of the firmware's own code at run time. */
async function firmwareOf(vm: Vm) {
  const log = await vm.dmesg();
  const shell = async (command: string) => (await vm.run(command)).stdout.trim();
  return {
    memory: [...log.matchAll(/BIOS-e820: (\[mem .*)$/gm)].map(([, range]) => range),
    tables: await shell("cat /sys/firmware/efi/systab"),
    runtime: await shell("cd /sys/firmware/efi/runtime-map && grep -H . */*"),
    variables: await shell(
      "mkdir -p /tmp/vars && mount -t efivarfs none /tmp/vars; ls /tmp/vars | sort; od -An -tx1 /tmp/vars/SecureBoot-*; umount /tmp/vars",
    ),
    screen: await shell("cat /proc/fb"),
  };
}

test("EFI's services, ACPI and the screen outlive kexec_load, and a map of hundreds of ranges arrives whole", async () => {
  const { previous, newest } = await testKernels();
  await using vm = await bootVm({
    kernel: await bootableKernel(previous),
    nextKernels: [await bootableKernel(newest)],
    firmware: "uefi",
    devices: ["VGA"],
    modules: ["efivarfs"],
  });
  const firmware = await firmwareOf(vm);
  expect(firmware.runtime).toMatch(/virt_addr:0xffff/);
  expect(firmware.variables).toMatch(/SecureBoot-/);
  expect(firmware.screen).toMatch(/^0 /);
  const folder = `/lab/kernels/${newest}`;
  const args = ["--initrd", `${folder}/initrd`, "--reuse-cmdline", "--syscall", "kexec_load", "--json"];
  const loaded = await vm.run([rekernel, "kexec", "load", `${folder}/vmlinuz`, ...args]);
  expect(loaded, loaded.stderr).toMatchObject({ exitCode: 0 });
  expect(JSON.parse(loaded.stdout).notes.join(" ")).not.toMatch(/EFI|screen/);
  await vm.start([rekernel, "kexec", "exec", "--now"]);
  await vm.waitForBoot();
  expect(vm.release()).toBe(newest);
  expect(await firmwareOf(vm)).toEqual(firmware);

  const line = (await vm.run(`cat ${folder}/cmdline`)).stdout.trim();
  const { stdout, stderr } = await vm.run([
    process.execPath,
    script,
    `${folder}/vmlinuz`,
    `${folder}/initrd`,
    line,
  ]);
  expect(stdout, stderr).not.toBe("");
  const given: [string, string, string][] = JSON.parse(stdout);
  expect(given.length).toBeGreaterThan(300);
  await vm.start([rekernel, "kexec", "exec", "--now"]);
  await vm.waitForBoot();
  const shown = await vm.run(
    'cd /sys/firmware/memmap && for i in *; do echo "$(cat $i/start)-$(cat $i/end) : $(cat $i/type)"; done',
  );
  const arrived = parseGivenMap(shown.stdout.replaceAll("0x", ""), "the guest's map");
  expect(arrived.map(({ start, end }) => `${start}-${end}`).sort()).toEqual(
    given.map(([start, end]) => `${start}-${end}`).sort(),
  );
});
