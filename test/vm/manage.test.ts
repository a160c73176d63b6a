import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bootableKernel } from "../../src/kernel/target.ts";
import { bootVm, type Vm } from "../../src/lab/vm.ts";
import { buildModules } from "./build-module.ts";
import { builtExecutable } from "./executable.ts";
import { testKernels } from "./kernels.ts";

const fromSources = join(import.meta.dirname, "../../bin/rekernel");

describe("rekernel patch in a running kernel", () => {
  let vm: Vm;
  let rekernel: string;

  /** Runs a command of the CLI with --json. */
  async function cli(...args: string[]) {
    const { exitCode, stdout, stderr } = await vm.run([rekernel, ...args, "--json"]);
    return { exitCode, stderr, result: JSON.parse(stdout) };
  }
  const cmdline = async () => (await vm.run("cat /proc/cmdline")).stdout.trim();
  const loadedModules = async () => (await vm.run("cut -d' ' -f1 /proc/modules")).stdout.split("\n");

  /** What is to be seen of cmdline.ko while it is loaded. */
  async function inspectLoaded() {
    const objects = [
      { name: "vmlinux", patched: true, functions: [{ name: "cmdline_proc_show", sympos: 1 }] },
    ];
    expect((await cli("patch", "list")).result.patches).toMatchObject([{ name: "cmdline", objects }]);
    expect((await cli("patch", "status", "cmdline")).result.patches).toMatchObject([
      { name: "cmdline", enabled: true, module: { state: "live", taint: "OEK" }, waiting: [], objects },
    ]);
    expect(await cli("patch", "load", "/m/cmdline.ko")).toMatchObject({
      exitCode: 3,
      result: { error: { code: "RK-ALREADY-LOADED" } },
    });
  }

  beforeAll(async () => {
    rekernel = await builtExecutable();
    const release = (await testKernels()).previous;
    const modules = await buildModules(release, ["cmdline", "replacing", "pausing", "plain"]);
    const replaceText = (from: string, to: string) =>
      Buffer.from(Buffer.from(modules.cmdline).toString("latin1").replaceAll(from, to), "latin1");
    vm = await bootVm({
      kernel: await bootableKernel(release),
      files: {
        "/m/cmdline.ko": modules.cmdline,
        "/m/replacing.ko": modules.replacing,
        "/m/pausing.ko": modules.pausing,
        "/m/plain.ko": modules.plain,
        "/m/truncated.ko": modules.cmdline.subarray(0, modules.cmdline.length >> 1),
        "/m/other-kernel.ko": replaceText(release, release.replace(/^6\.12\.\d/, "6.12.0")),
        "/m/unknown-function.ko": replaceText("cmdline_proc_show", "cmdline_proc_shop"),
      },
    });
  });
  afterAll(() => vm?.stop());

  test("loads, lists, shows, takes back, and loads again", async () => {
    const bootId = vm.bootId();
    const before = await cmdline();
    expect(before).toContain("console=");
    expect((await cli("patch", "list")).result).toEqual({ patches: [] });
    for (let round = 0; round < 2; round++) {
      const load = await cli("patch", "load", "/m/cmdline.ko");
      expect(load).toMatchObject({
        exitCode: 0,
        result: { patch: { name: "cmdline", enabled: true, transition: false }, replaced: [] },
      });
      expect(await cmdline()).toBe("patched");
      if (round === 0) await inspectLoaded();
      expect(await cli("patch", "unload", "cmdline")).toMatchObject({
        exitCode: 0,
        result: { name: "cmdline" },
      });
      expect(await cmdline()).toBe(before);
      expect(await loadedModules()).not.toContain("cmdline");
    }
    expect(await cli("patch", "unload", "cmdline")).toMatchObject({
      exitCode: 3,
      result: { error: { code: "RK-NOT-LOADED" } },
    });
    expect(vm.bootId()).toBe(bootId);
  });

  test("a patch that replaces the others lets their modules go", async () => {
    await cli("patch", "load", "/m/cmdline.ko");
    expect(await cli("patch", "load", "/m/replacing.ko")).toMatchObject({
      exitCode: 0,
      result: { patch: { name: "replacing" }, replaced: ["cmdline"] },
    });
    expect(await cmdline()).toBe("replaced");
    expect((await cli("patch", "list")).result.patches).toHaveLength(1);
    expect(await loadedModules()).not.toContain("cmdline");
    expect((await cli("patch", "unload", "replacing")).exitCode).toBe(0);
    expect(await cmdline()).toContain("console=");
  });

  test.each([
    ["not a live patch", "/m/plain.ko", 4, "RK-NOT-LIVEPATCH"],
    ["made for another kernel", "/m/other-kernel.ko", 4, "RK-WRONG-KERNEL"],
    ["cut off in the middle", "/m/truncated.ko", 1, "RK-BAD-ELF"],
    ["not there", "/m/missing.ko", 1, "RK-FILE"],
  ])("refuses a file that is %s", async (_what, path, exitCode, code) => {
    const before = await loadedModules();
    expect(await cli("patch", "load", path)).toMatchObject({ exitCode, result: { error: { code } } });
    expect(await loadedModules()).toEqual(before);
  });

  test("shows what the kernel says when it refuses a patch", async () => {
    const { exitCode, result } = await cli("patch", "load", "/m/unknown-function.ko");
    expect(exitCode).toBe(1);
    expect(result.error).toMatchObject({ code: "RK-MODULE-REJECTED" });
    expect(result.error.details).toContain("cmdline_proc_shop");
    expect(await loadedModules()).not.toContain("cmdline");
  });

  test("does not touch a module that is not a live patch", async () => {
    await vm.run("insmod /m/plain.ko");
    expect(await cli("patch", "unload", "plain")).toMatchObject({
      exitCode: 4,
      result: { error: { code: "RK-NOT-LIVEPATCH" } },
    });
    expect(await loadedModules()).toContain("plain");
  });

  test("says how to get the permission that is missing", async () => {
    // The checkout may lie in a folder that only its owner enters: reading is not what is tried here.
    const reading = "--inh-caps=+dac_read_search --ambient-caps=+dac_read_search";
    const asNobody = (command: string) =>
      vm.run(`setpriv --reuid=65534 --clear-groups ${reading} -- ${command}`);
    const load = await asNobody(`${fromSources} patch load /m/cmdline.ko`);
    expect(load.stderr).toContain("RK-NOT-ROOT");
    expect(load.stderr).toContain("sudo");
    expect(load.exitCode).toBe(5);
  });

  test("takes a patch back when its transition stalls, and names who held it up", async () => {
    const { pid } = await vm.start(["perl", "-e", "syscall(34) while 1"]);
    await vm.run(`until grep -q pause /proc/${pid}/stack; do sleep 0.1; done`);
    const stalled = await cli("patch", "load", "/m/pausing.ko", "--timeout", "3");
    expect(stalled.exitCode).toBe(1);
    expect(stalled.result.error.code).toBe("RK-TRANSITION-STALLED");
    expect(stalled.result.error.details).toContain(`perl (pid ${pid})`);
    expect(stalled.result.error.details).toContain("sys_pause");
    expect(await loadedModules()).not.toContain("pausing");

    // Ctrl-C while it waits ends the same way.
    const interrupted = await vm.run(
      `${rekernel} patch load /m/pausing.ko & pid=$!
      until grep -q 1 /sys/kernel/livepatch/pausing/transition; do sleep 0.1; done
      kill -TERM $pid; wait $pid`,
    );
    expect(interrupted.exitCode).toBe(143);
    expect(await loadedModules()).not.toContain("pausing");
    await vm.run(`kill -9 ${pid}`);
  });
});
