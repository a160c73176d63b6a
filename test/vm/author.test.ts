/** The worked examples of docs/patch-author-guide.md, and the author's macros, in the kernel that they are for. */
import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type TargetKernel, targetKernel } from "../../src/kernel/target.ts";
import { modulesInLoadOrder } from "../../src/lab/kernel-modules.ts";
import { bootVm, type Vm } from "../../src/lab/vm.ts";
import { type BuildReport, buildLivePatch } from "../../src/livepatch/build/build.ts";
import { parsePatch } from "../../src/livepatch/build/source/patch.ts";
import { rekernel, root } from "../unit/cli/run.ts";
import { longName, sessionStart, twoSessionImage } from "./iso-image.ts";
import { testKernels } from "./kernels.ts";

const examples = ["header-change", "module", "shadow-variable", "callback", "rescued"] as const;
const functionsOfExamples: Record<(typeof examples)[number], string[]> = {
  "header-change": ["ext4:ext4_fill_super"],
  module: ["tun:__tun_chr_ioctl"],
  "shadow-variable": [
    "vmlinux:do_eventfd",
    "vmlinux:eventfd_ctx_put",
    "vmlinux:eventfd_release",
    "vmlinux:eventfd_show_fdinfo",
    "vmlinux:eventfd_write",
  ],
  callback: [],
  rescued: ["isofs:isofs_fill_super", "isofs:isofs_put_super", "isofs:rock_continue"],
};
/** Loaded when a test asks for them: patches come before them. */
const lateModules = ["tun", "kvm_amd"];

let folder: string;
let target: TargetKernel;
let vm: Vm;
const reports = new Map<string, BuildReport>();

const buildExample = (name: string) =>
  rekernel([
    ...["patch", "build", join(root, "docs/examples", `${name}.patch`), "--kernel", target.release],
    ...["-o", join(folder, `${name}.ko`), "--json"],
  ]);

/** Builds one live patch of patches in test/vm/patches, after `change` to their text. */
async function build(
  name: string,
  files: readonly string[],
  change = (text: string) => text,
  replace = false,
): Promise<void> {
  const read = async (file: string) => {
    const text = await readFile(join(import.meta.dirname, "patches", `${file}.patch`), "utf8");
    return parsePatch(change(text), `${name}.patch`);
  };
  const patches = await Promise.all(files.map(read));
  const output = join(folder, `${name}.ko`);
  reports.set(name, await buildLivePatch({ target, patches, output, replace }));
}

const sh = async (command: string) => vm.run(command);
const folderOf = (name: string) => `/sys/kernel/livepatch/${reports.get(name)!.name}`;
const settled = (name: string) =>
  `while [ "$(cat ${folderOf(name)}/transition 2>/dev/null)" = 1 ]; do sleep 0.1; done`;
/** By hand: starting rekernel takes seconds in an emulated machine, and manage.test.ts has it. */
const load = async (name: string) =>
  expect(await sh(`insmod /m/${name}.ko && ${settled(name)}`)).toMatchObject({ exitCode: 0 });
/** The kernel drops its reference to the module a little after the transition. */
const remove = async (name: string) =>
  expect(
    await sh(`for i in $(seq 50); do rmmod ${reports.get(name)!.name} && exit 0; sleep 0.1; done; exit 1`),
  ).toMatchObject({ exitCode: 0 });
const unload = async (name: string) => {
  await sh(`echo 0 > ${folderOf(name)}/enabled && ${settled(name)}`);
  await remove(name);
};
const isPatched = async (name: string, object: string) =>
  (await sh(`cat ${folderOf(name)}/${object}/patched`)).stdout.trim();
const insert = (module: string) => sh(`for m in $(cat /m/order-${module}); do insmod $m || exit 1; done`);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rekernel-test-"));
  target = await targetKernel((await testKernels()).previous);
  for (const name of examples) {
    const { stdout, stderr } = await buildExample(name);
    const report = JSON.parse(stdout);
    expect(report.error, stderr).toBeUndefined();
    reports.set(name, report);
  }
  const inVersion = (version: number) => (text: string) => text.replaceAll("STATE_VERSION", String(version));
  await build("state-1", ["system-state"], inVersion(1));
  await build("state-2", ["system-state"], inVersion(2), true);
  await build("old-state", ["system-state"], inVersion(1), true);
  await build("vouched", ["vouched"]);
  await build("calls", ["lsm-static-call", "kvm-static-call", "syscall"]);

  const files: Record<string, Uint8Array | string> = {};
  for (const name of reports.keys()) files[`/m/${name}.ko`] = join(folder, `${name}.ko`);
  for (const trigger of ["tun-ownerless", "author"]) {
    const source = join(import.meta.dirname, "triggers", `${trigger}.c`);
    execFileSync("gcc", ["-static", "-O2", "-o", join(folder, trigger), source]);
    files[`/m/${trigger}`] = join(folder, trigger);
  }
  await writeFile(join(folder, "sessions.iso"), twoSessionImage());
  files["/m/sessions.iso"] = join(folder, "sessions.iso");
  for (const module of lateModules) {
    const modules = await modulesInLoadOrder(target.modules!, [module]);
    for (const { name, data } of modules) files[`/m/modules/${name}.ko`] = data;
    files[`/m/order-${module}`] = Buffer.from(modules.map(({ name }) => `/m/modules/${name}.ko\n`).join(""));
  }
  files["/usr/local/bin/rekernel"] = Buffer.from(`#!/bin/sh\nexec ${join(root, "bin/rekernel")} "$@"\n`);
  vm = await bootVm({ kernel: target, modules: ["loop", "ext4", "crc32c_generic", "isofs"], files });
  await sh("chmod +x /usr/local/bin/rekernel /m/author /m/tun-ownerless");
});
afterAll(async () => {
  const log = (await vm?.dmesg().catch(() => "")) ?? "";
  await vm?.stop();
  await rm(folder, { recursive: true, force: true });
  expect(log).not.toMatch(/WARNING:|BUG:|Oops:|Call Trace:|klp_shadow/);
});

describe("the guide's example", () => {
  test.each(examples)("%s replaces the functions that the guide says", (name) => {
    const { functions, match, warnings, cautions } = reports.get(name)!;
    expect(functions.map((each) => `${each.object}:${each.name}`).sort()).toEqual(functionsOfExamples[name]);
    expect(match.identicalFunctions).toBe(match.comparedFunctions);
    expect({ warnings, cautions }).toEqual({ warnings: [], cautions: [] });
  });

  test("header-change: ext4 refuses the cluster size that it took before", async () => {
    const make =
      "truncate -s 64G /tmp/clusters.img && mkfs.ext4 -q -O bigalloc,^has_journal -C 536870912 /tmp/clusters.img";
    expect(await sh(make)).toMatchObject({ exitCode: 0 });
    const mount = () => sh("mount -o loop /tmp/clusters.img /mnt && umount /mnt");
    expect(await mount()).toMatchObject({ exitCode: 0 });
    await load("header-change");
    expect((await mount()).exitCode).not.toBe(0);
    expect(await vm.dmesg()).toContain("Invalid log cluster size: 19");
    await unload("header-change");
    expect(await mount()).toMatchObject({ exitCode: 0 });
    await sh("rm /tmp/clusters.img");
  });

  test("module: a patch that is loaded first mends the module as it comes", async () => {
    await load("module");
    expect(await isPatched("module", "tun")).toBe("0");
    expect(await insert("tun")).toMatchObject({ exitCode: 0 });
    expect((await sh("/m/tun-ownerless")).exitCode).toBe(0);
    await unload("module");
    expect((await sh("/m/tun-ownerless")).exitCode).toBe(1);
    await load("module");
    expect(await isPatched("module", "tun")).toBe("1");
    expect((await sh("/m/tun-ownerless")).exitCode).toBe(0);
    await unload("module");
  });

  test("shadow-variable: every eventfd counts its writes while the patch is loaded", async () => {
    expect((await sh("/m/author writes")).stdout).not.toContain("eventfd-writes");
    await load("shadow-variable");
    for (let i = 0; i < 2; i++)
      expect((await sh("/m/author writes")).stdout).toContain("eventfd-writes: 3\n");
    await unload("shadow-variable");
    expect((await sh("/m/author writes")).stdout).not.toContain("eventfd-writes");
  });

  test("callback: every copy of a live table is changed, and changed back", async () => {
    const { pid } = await vm.start(["unshare", "-n", "sleep", "100000"]);
    const limit = "/proc/sys/net/ipv4/tcp_tso_rtt_log";
    const inOther = `nsenter -t ${pid} -n`;
    await sh(
      `until [ "$(readlink /proc/${pid}/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.1; done`,
    );
    const set = async (value: number) => {
      const write = `sh -c 'echo ${value} > ${limit} && cat ${limit}'`;
      const results = [];
      for (const where of ["", inOther, "unshare -n"])
        results.push((await sh(`${where} ${write}`)).stdout.trim());
      return results;
    };
    expect(await set(40)).toEqual(["40", "40", "40"]);
    await load("callback");
    expect((await sh(`cat ${limit}; ${inOther} cat ${limit}`)).stdout).toBe("31\n31\n");
    expect(await set(40)).toEqual(["", "", ""]);
    expect(await set(30)).toEqual(["30", "30", "30"]);
    await unload("callback");
    expect(await set(40)).toEqual(["40", "40", "40"]);
    await sh(`kill ${pid}`);
  });

  test("refused, and rescued with a shadow variable", async () => {
    const refused = await buildExample("refused");
    expect(refused.exitCode).toBe(4);
    expect(JSON.parse(refused.stdout).error).toMatchObject({
      code: "RK-TYPE-CHANGE",
      message: expect.stringContaining("struct isofs_sb_info"),
    });
    const mount = `mount -t iso9660 -o loop,ro,sbsector=${sessionStart} /m/sessions.iso`;
    // Of another file: two mounts of one file share their superblock.
    const mountEarly = `cp /m/sessions.iso /tmp/early.iso && ${mount.replace("/m/sessions", "/tmp/early")}`;
    const list = async (where: string) => (await sh(`ls ${where}; umount ${where}`)).stdout;
    await sh(`mkdir /tmp/early && ${mountEarly} /tmp/early && ${mount} /mnt`);
    expect(await list("/mnt")).not.toContain(longName);
    expect(await vm.dmesg()).toContain("out of volume (nzones=21)");
    await load("rescued");
    await sh(`${mount} /mnt`);
    expect(await list("/mnt")).toBe(`${longName}\n`);
    // Mounted before: its superblock has no shadow variable.
    expect(await list("/tmp/early")).not.toContain(longName);
    await sh(`${mount} /mnt`);
    await unload("rescued");
    expect(await sh("umount /mnt")).toMatchObject({ exitCode: 0 });
  });
});

describe("the author's macros", () => {
  test("changes that the author leaves out or vouches for are cautions", () => {
    const { cautions, functions } = reports.get("vouched")!;
    expect(functions.map(({ name }) => name)).toContain("cmdline_proc_show");
    const own = cautions.filter(({ code }) => /ACCEPTED|IGNORED/.test(code));
    expect(own.sort((a, b) => (a.code < b.code ? -1 : 1))).toMatchObject([
      {
        code: "RK-CAUTION-ACCEPTED",
        message: expect.stringContaining("struct signalfd_ctx"),
        hint: expect.stringContaining('"none is open"'),
      },
      { code: "RK-CAUTION-IGNORED", message: expect.stringContaining("proc_cmdline_init") },
    ]);
  });

  test("system states: callbacks hand them on, and what does not know them is refused", async () => {
    const told = async () => [...(await vm.dmesg()).matchAll(/version (state .*)/g)].at(-1)?.[1];
    await load("state-1");
    expect(await told()).toBe("state 1 after 0, data 41");
    await load("state-2");
    expect(await told()).toBe("state 2 after 1, data 42");
    await remove("state-1");
    const refused = await vm.run(["rekernel", "patch", "load", "/m/old-state.ko", "--json"]);
    expect(refused.exitCode).toBe(4);
    expect(JSON.parse(refused.stdout)).toMatchObject({
      error: { code: "RK-STATE-INCOMPATIBLE", details: expect.stringContaining("is not compatible") },
    });
    expect((await sh("cat /proc/version")).stdout).toMatch(/state 2\n$/);
    // What replaces nothing may leave the state alone.
    await load("calls");
    await unload("calls");
    await unload("state-2");
    await load("old-state");
    await unload("old-state");
  });

  test("static calls of vmlinux whose keys are not exported reach what they reach", async () => {
    const set = (seconds: number, user = "") => sh(`LC_ALL=C ${user} date -u -s @${seconds}`);
    const ordinary = "setpriv --reuid=65534 --clear-groups";
    await load("calls");
    expect(await set(1_000_000_000)).toMatchObject({ exitCode: 0 });
    // The capability module's hook, by its static call.
    expect((await set(1_000_000_000, ordinary)).stderr).toContain("Operation not permitted");
    expect((await set(1)).stderr).toContain("Device or resource busy");
    await unload("calls");
  });

  test("a system call is changed in its SYSCALL_DEFINE, for both of its entries", async () => {
    const names = reports.get("calls")!.functions.map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(["__ia32_sys_eventfd2", "__x64_sys_eventfd2"]));
    expect((await sh("/m/author eventfd 4242")).stdout).toBe("made\n");
    await load("calls");
    expect((await sh("/m/author eventfd 4242")).stdout).toBe("EDOM\n");
    expect((await sh("/m/author eventfd 4243")).stdout).toBe("made\n");
    await unload("calls");
    expect((await sh("/m/author eventfd 4242")).stdout).toBe("made\n");
  });

  test("static calls whose key a module owns, before and after the module comes", async ({ skip }) => {
    await load("calls");
    if ((await insert("kvm_amd")).exitCode !== 0) skip("this machine's processor has no SVM for its guests");
    const told = async () => [...(await vm.dmesg()).matchAll(/rekernel test: (.*)/g)].map(([, text]) => text);
    expect(await sh("/m/author vcpu")).toMatchObject({ exitCode: 0, stderr: "" });
    const expected = ["counter 0 is of no vcpu", "counter 0 is of this vcpu"];
    expect(await told()).toEqual(expected);
    await unload("calls");
    await load("calls");
    expect(await sh("/m/author vcpu")).toMatchObject({ exitCode: 0, stderr: "" });
    expect(await told()).toEqual([...expected, ...expected]);
    await unload("calls");
  });
});
