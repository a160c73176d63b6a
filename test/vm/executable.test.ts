import { realpath } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { bootableKernel } from "../../src/kernel/target.ts";
import { bootVm, type Vm } from "../../src/lab/vm.ts";
import { buildModules } from "./build-module.ts";
import { builtExecutable } from "./executable.ts";
import { testKernels } from "./kernels.ts";

/** All that a minimal Debian (debootstrap --variant=minbase) has of what Node could want. */
const libraries = [
  "libc.so.6",
  "libdl.so.2",
  "libgcc_s.so.1",
  "libm.so.6",
  "libpthread.so.0",
  "libstdc++.so.6",
];
const libraryFolder = "/lib/x86_64-linux-gnu";

let vm: Vm;

beforeAll(async () => {
  const kernel = await bootableKernel((await testKernels()).previous);
  const { cmdline } = await buildModules(kernel.release, ["cmdline"]);
  const loader = "/lib64/ld-linux-x86-64.so.2";
  const files: Record<string, string | Uint8Array> = {
    "/usr/bin/rekernel": await builtExecutable(),
    [loader]: await realpath(loader),
    "/m/cmdline.ko": cmdline,
  };
  for (const name of libraries)
    files[`${libraryFolder}/${name}`] = await realpath(`${libraryFolder}/${name}`);
  vm = await bootVm({ kernel, hostRoot: false, files, memoryMiB: 1536 });
});
afterAll(() => vm?.stop());

test("runs on a machine that has neither Node nor libatomic", async () => {
  const found = await vm.run("find / -xdev -name 'libatomic*' -o -xdev -name 'node*' -type f");
  expect(found.stdout).toBe("");
  expect(await vm.run("rekernel --version")).toMatchObject({
    exitCode: 0,
    stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/),
    stderr: "",
  });
  expect(await vm.run("NODE_OPTIONS=--nonsense rekernel patch list")).toMatchObject({
    exitCode: 0,
    stdout: expect.stringContaining("No live patch"),
    stderr: "",
  });
  const status = await vm.run("rekernel kexec status --json");
  expect(JSON.parse(status.stdout)).toMatchObject({ running: vm.release(), supported: true, loaded: false });
});

test("explains its refusals there", async () => {
  expect(await vm.run("rekernel explain RK-DATA-CHANGE")).toMatchObject({
    exitCode: 0,
    stdout: expect.stringMatching(/^RK-DATA-CHANGE\n[\s\S]*\nWhat to do\n/),
    stderr: "",
  });
  expect((await vm.run("rekernel explain RK-DISK-FULL")).stdout).toContain("XDG_CACHE_HOME");
});

test("makes its system calls there", async () => {
  const before = (await vm.run("cat /proc/cmdline")).stdout;
  expect((await vm.run("rekernel patch load /m/cmdline.ko")).exitCode).toBe(0);
  expect((await vm.run("cat /proc/cmdline")).stdout).toBe("patched\n");
  expect((await vm.run("rekernel patch unload cmdline")).exitCode).toBe(0);
  expect((await vm.run("cat /proc/cmdline")).stdout).toBe(before);
});
