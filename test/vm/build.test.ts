import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { type TargetKernel, targetKernel } from "../../src/kernel/target.ts";
import { verifyPatch } from "../../src/lab/patch-trial.ts";
import { bootVm, type Vm } from "../../src/lab/vm.ts";
import { type BuildReport, buildLivePatch } from "../../src/livepatch/build/build.ts";
import { parsePatch } from "../../src/livepatch/build/source/patch.ts";
import { prepareTrees } from "../../src/livepatch/build/source/trees.ts";
import { testKernels } from "./kernels.ts";

const patches = join(import.meta.dirname, "patches");
let folder: string;
let target: TargetKernel;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rekernel-test-"));
  target = await targetKernel((await testKernels()).previous);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

function build(
  name: string,
  text: string,
  options: { target?: TargetKernel; signal?: AbortSignal } = {},
): Promise<BuildReport> {
  return buildLivePatch({
    target,
    patches: [parsePatch(text, `${name}.patch`)],
    output: join(folder, `${name}.ko`),
    ...options,
  });
}

/** A patch that replaces text of one file of the target's source. */
async function edit(path: string, [from, to]: [string, string], kernel = target): Promise<string> {
  const { pristine } = await prepareTrees(kernel);
  const before = await readFile(join(pristine, path), "utf8");
  if (!before.includes(from)) throw new Error(`${path} does not contain ${from}`);
  const after = before.replace(from, to);
  await writeFile(join(folder, "before.c"), before);
  await writeFile(join(folder, "after.c"), after);
  try {
    execFileSync("diff", ["-u", "--label", `a/${path}`, "--label", `b/${path}`, "before.c", "after.c"], {
      cwd: folder,
      encoding: "utf8",
    });
  } catch (error) {
    // diff ends with 1 where files differ.
    return (error as { stdout: string }).stdout;
  }
  throw new Error("the edit changes nothing");
}

describe("live patches from real fixes", () => {
  let vm: Vm;
  const reports = new Map<string, BuildReport>();
  const names = [
    "new-function",
    "callbacks-two-files",
    "lbr-jump-label",
    "early-wx-warning",
    "locked-mount-warn",
    "signalfd-forced",
    "statmount-buffer",
    "umount-busy",
    "caller-elsewhere",
    "shared-section",
  ];

  const load = async (name: string) => vm.run(["rekernel", "patch", "load", `/m/${name}.ko`, "--json"]);
  const unload = async (name: string) =>
    vm.run(["rekernel", "patch", "unload", reports.get(name)!.name, "--json"]);

  beforeAll(async () => {
    for (const name of names)
      reports.set(name, await build(name, await readFile(join(patches, `${name}.patch`), "utf8")));
    const files = Object.fromEntries(names.map((name) => [`/m/${name}.ko`, join(folder, `${name}.ko`)]));
    vm = await bootVm({
      kernel: target,
      files: {
        ...files,
        "/usr/local/bin/rekernel": Buffer.from(
          `#!/bin/sh\nexec ${join(import.meta.dirname, "../../bin/rekernel")} "$@"\n`,
        ),
      },
    });
    await vm.run("chmod +x /usr/local/bin/rekernel");
  });
  afterAll(() => vm?.stop());

  test("replace exactly the functions of the fix, all byte for byte the target's before", () => {
    const replaced = Object.fromEntries(
      [...reports].map(([name, { functions }]) => [
        name,
        functions.map((each) => `${each.object}:${each.name}`),
      ]),
    );
    expect(replaced).toEqual({
      "new-function": ["vmlinux:cmdline_proc_show"],
      "callbacks-two-files": ["vmlinux:cmdline_proc_show"],
      "lbr-jump-label": ["vmlinux:intel_pmu_lbr_filter"],
      "early-wx-warning": ["vmlinux:__change_page_attr_set_clr"],
      "locked-mount-warn": ["vmlinux:mark_mounts_for_expiry", "vmlinux:path_umount"],
      "signalfd-forced": ["vmlinux:signalfd_poll", "vmlinux:signalfd_read_iter"],
      "statmount-buffer": ["vmlinux:__x64_sys_statmount", "vmlinux:__ia32_sys_statmount"],
      "umount-busy": ["vmlinux:propagate_mount_busy"],
      "caller-elsewhere": ["vmlinux:proc_pid_syscall"],
      "shared-section": ["vmlinux:up"],
    });
    for (const { match, warnings } of reports.values()) {
      expect(match.identicalFunctions).toBe(match.comparedFunctions);
      expect(warnings).toEqual([]);
    }
  });

  test("load and unload one after the other without a word of warning from the kernel", async () => {
    const settled = (module: string) =>
      `while [ "$(cat /sys/kernel/livepatch/${module}/transition 2>/dev/null)" = 1 ]; do sleep 0.2; done`;
    const modules = names.map((name) => ({ name, module: reports.get(name)!.name }));
    const loadAll = modules.map(({ name, module }) => `insmod /m/${name}.ko && ${settled(module)}`);
    const unloadAll = modules
      .toReversed()
      .map(
        ({ module }) =>
          `echo 0 > /sys/kernel/livepatch/${module}/enabled && ${settled(module)} && rmmod ${module}`,
      );
    expect(
      await vm.run(
        [
          ...loadAll,
          "ls /sys/kernel/livepatch | wc -l",
          ...unloadAll,
          "ls /sys/kernel/livepatch | wc -l",
        ].join(" && "),
      ),
    ).toMatchObject({
      exitCode: 0,
      stdout: `${names.length}\n0\n`,
    });
    expect(await vm.dmesg()).not.toMatch(/WARNING:|BUG:|Oops:|Call Trace:|livepatch: .*fail/);
  });

  test("bring new functions, data, strings and bug entries", async () => {
    const cmdline = async () => (await vm.run("cat /proc/cmdline")).stdout;
    const before = await cmdline();
    await load("new-function");
    expect(await cmdline()).toBe(`${before}read 41 (odd) times, 801\n`);
    // Another CPU counts for itself.
    expect((await cmdline()).replace(/80[12]/, "")).toBe(`${before}read 42 (even) times, \n`);
    expect(await vm.dmesg()).toContain("the command line was read");
    await unload("new-function");
    expect(await cmdline()).toBe(before);
  });

  test("replace the callers of a function that ftrace cannot hook, in another unit", async () => {
    const sixthArgument = async () => (await vm.run("cut -d ' ' -f 7 /proc/self/syscall")).stdout.trim();
    expect(reports.get("caller-elsewhere")!.functions).toMatchObject([
      { source: "fs/proc/base.c", reason: "it calls task_current_syscall, which ftrace cannot hook" },
    ]);
    expect(await sixthArgument()).not.toBe("0x7e57");
    await load("caller-elsewhere");
    expect(await sixthArgument()).toBe("0x7e57");
    await unload("caller-elsewhere");
    expect(await sixthArgument()).not.toBe("0x7e57");
  });

  test("replace a function that shares its section with those that it calls", async () => {
    const released = async () => [...(await vm.dmesg()).matchAll(/semaphore: released/g)].length;
    expect(reports.get("shared-section")!.included).toContainEqual(
      expect.objectContaining({ name: "note_release", kind: "function", reason: "new, needed by up" }),
    );
    const before = await released();
    await load("shared-section");
    // Each message of the kernel's takes and releases the semaphore of the consoles; the patch tells of the first time.
    expect(await released()).toBe(before + 1);
    await unload("shared-section");
  });

  test("call the author's callbacks, and reach new functions across files", async () => {
    await load("callbacks-two-files");
    expect((await vm.run("cat /proc/cmdline")).stdout).toContain("answer 42\n");
    await unload("callbacks-two-files");
    const called = [...(await vm.dmesg()).matchAll(/callback: (.*)/g)].map(([, which]) => which);
    expect(called.slice(-4)).toEqual([
      "before patching",
      "after patching",
      "before unpatching",
      "after unpatching",
    ]);
  });

  test("give the same bytes again", async () => {
    const first = reports.get("umount-busy")!;
    const repeated = await build("umount-busy", await readFile(join(patches, "umount-busy.patch"), "utf8"));
    expect(repeated.sha256).toBe(first.sha256);
  });
});

describe("patches that cannot become live patches", () => {
  const refusal = (code: string, exitCode: number) => expect.objectContaining({ code, exitCode });
  const cmdline = "fs/proc/cmdline.c";

  test("no functional change: a comment, a blank line beside a WARN", async () => {
    await expect(
      build("comment", await edit(cmdline, ["\treturn 0;", "\t/* done */\n\treturn 0;"])),
    ).rejects.toEqual(refusal("RK-NO-FUNCTIONAL-CHANGE", 3));
    await expect(
      build(
        "blank",
        await edit("fs/namespace.c", ["#include <linux/syscalls.h>", "\n\n#include <linux/syscalls.h>"]),
      ),
    ).rejects.toEqual(refusal("RK-NO-FUNCTIONAL-CHANGE", 3));
  });

  test("a patch that does not apply, or is malformed", async () => {
    const text = await edit(cmdline, ["seq_putc(m, '\\n');", 'seq_puts(m, "!\\n");']);
    await expect(build("moved", text.replace("saved_command_line", "command_line"))).rejects.toEqual(
      refusal("RK-PATCH-DOES-NOT-APPLY", 1),
    );
    expect(() => parsePatch("nothing of a patch\n", "text")).toThrow(
      expect.objectContaining({ exitCode: expect.any(Number) }),
    );
  });

  test("code that does not compile, with the compiler's words", async () => {
    const failed = build("broken", await edit(cmdline, ["return 0;", "return nothing_of_that_name;"]));
    await expect(failed).rejects.toEqual(refusal("RK-COMPILE-ERROR", 1));
    await expect(failed).rejects.toMatchObject({ details: expect.stringContaining("nothing_of_that_name") });
  });

  test("__init code and live data", async () => {
    await expect(
      build("init", await edit(cmdline, ["saved_command_line_len + 1", "saved_command_line_len + 2"])),
    ).rejects.toEqual(refusal("RK-INIT-CHANGE", 4));
    const data = await edit("kernel/printk/printk.c", [
      "int console_printk[4] = {\n\tCONSOLE_LOGLEVEL_DEFAULT,",
      "int console_printk[4] = {\n\tCONSOLE_LOGLEVEL_MIN,",
    ]);
    await expect(build("data", data)).rejects.toEqual(refusal("RK-DATA-CHANGE", 4));
  });

  test("a source that is not the target's: the refusal says where it differs", async () => {
    const newest = await targetKernel((await testKernels()).newest);
    const { image, config, symvers, modules } = target;
    const other: TargetKernel = {
      release: target.release,
      image,
      config,
      symvers,
      source: newest.source,
      ...(modules === undefined ? {} : { modules }),
    };
    const text = await edit(
      "kernel/cgroup/cgroup.c",
      ["\tlockdep_assert_held(&cgroup_mutex);\n", "\tlockdep_assert_held(&cgroup_mutex);\n\tbarrier();\n"],
      other,
    );
    const failed = build("other", text, { target: other });
    await expect(failed).rejects.toEqual(refusal("RK-SOURCE-MISMATCH", 4));
    await expect(failed).rejects.toThrow(/lays out types otherwise than .*: struct \w+|__cgroup_kill/);
  });

  test("a module that makes the kernel warn does not stand its trial", async () => {
    const text = await edit(cmdline, [
      '#include "internal.h"\n',
      '#include "internal.h"\n#include <rekernel/livepatch.h>\n\nstatic int warns(struct klp_object *obj)\n{\n\tWARN_ON(1);\n\treturn 0;\n}\nREKERNEL_PRE_PATCH(warns);\n',
    ]);
    const { name, output: path } = await build("warns", text);
    await expect(verifyPatch(target, { name, path, targets: [] }, {})).rejects.toMatchObject({
      code: "RK-VERIFY",
      exitCode: 1,
      details: expect.stringContaining("WARNING:"),
    });
  });

  test("an interrupted build leaves nothing behind", async () => {
    const text = await edit("fs/namespace.c", [
      "if (!mnt_has_parent(mnt))",
      "if (!mnt_has_parent(mnt) && mnt)",
    ]);
    // A folder of its own: other builds go on at the same time.
    const temporary = await mkdtemp(join(folder, "tmp-"));
    vi.stubEnv("TMPDIR", temporary);
    const controller = new AbortController();
    const during: string[] = [];
    try {
      const building = buildLivePatch({
        target,
        patches: [parsePatch(text, "interrupted.patch")],
        output: join(folder, "interrupted.ko"),
        signal: controller.signal,
        onProgress: ({ type, step }) => {
          if (type !== "start" || step !== "units") return;
          setTimeout(() => {
            during.push(...readdirSync(temporary));
            controller.abort(new Error("stopped"));
          }, 200);
        },
      });
      await expect(building).rejects.toThrow();
    } finally {
      vi.unstubAllEnvs();
    }
    expect(during.some((name) => name.startsWith("rekernel-build-"))).toBe(true);
    expect(await readdir(temporary)).toEqual([]);
    expect(await readdir(folder)).not.toContain("interrupted.ko");
  });
});
