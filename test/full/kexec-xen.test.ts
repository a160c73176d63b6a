import { join } from "node:path";
import { expect, test } from "vitest";
import { cacheFolder } from "../../src/core/cache.ts";
import { fetchPackages, offeredVersions, packageNames, unpackDeb } from "../../src/kernel/packages.ts";
import { bootableKernel } from "../../src/kernel/target.ts";
import { bootVm } from "../../src/lab/vm.ts";
import { builtExecutable } from "../vm/executable.ts";
import { testKernels } from "../vm/kernels.ts";

/** Debian's Xen, a relocatable Multiboot2 kernel: boot/xen-….gz below the folder. */
async function xenFolder(): Promise<{ folder: string; image: string }> {
  const names = (await packageNames("xen-hypervisor-")).filter((name) =>
    /^xen-hypervisor-\d+\.\d+-amd64$/.test(name),
  );
  const [xen] = await offeredVersions(names);
  if (xen === undefined) throw new Error("apt offers no Xen");
  const folder = join(await cacheFolder("xen"), `${xen.name}_${xen.version}`);
  await fetchPackages(
    [{ package: xen, folder, unpack: (deb, into) => unpackDeb(deb, into, ["./boot"], {}) }],
    {},
  );
  return { folder, image: `boot/xen-${/\d+\.\d+/.exec(xen.name)![0]}-amd64.gz` };
}

test("stock 6.12 starts Xen by Multiboot2, and Xen a stock 6.12 out of its modules", async () => {
  const { newest } = await testKernels();
  const rekernel = await builtExecutable();
  const { folder: share, image } = await xenFolder();
  await using vm = await bootVm({ kernel: await bootableKernel(newest), memoryMiB: 1536, share });
  const kernel = `/lab/kernels/${newest}`;
  const firstBoot = vm.bootId();
  const line = (await vm.run(`cat ${kernel}/cmdline`)).stdout.trim().replace("console=ttyS0", "console=hvc0");
  const modules = ["--module", `${kernel}/vmlinuz ${line} rekernel.test=xen`, "--module", `${kernel}/initrd`];
  // The emulator's SMAP does not let Xen write to the stack of a paravirtual guest.
  const xenLine = "com1=115200,8n1 console=com1 smap=0 smep=0 dom0_mem=1000M";
  const words = [`/share/${image}`, ...modules, "--command-line", xenLine, "--json"];
  const loaded = await vm.run([rekernel, "kexec", "load", ...words]);
  expect(JSON.parse(loaded.stdout)).toMatchObject({ loaded: true, kind: "multiboot2", method: "kexec_load" });
  await vm.start([rekernel, "kexec", "exec"]);
  await vm.waitForBoot();
  expect(vm.bootId()).not.toBe(firstBoot);
  expect(vm.release()).toBe(newest);
  expect((await vm.run("cat /sys/hypervisor/type")).stdout.trim()).toBe("xen");
  expect((await vm.run("cat /proc/cmdline")).stdout.trim()).toBe(`${line} rekernel.test=xen`);
  const console = vm.console();
  expect(console).toContain("Bootloader: rekernel");
  expect(console).toContain(`(XEN) Command line: ${xenLine}`);
});
