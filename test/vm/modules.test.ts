import { execFileSync } from "node:child_process";
import { cp, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type TargetKernel, targetKernel } from "../../src/kernel/target.ts";
import { modulesInLoadOrder } from "../../src/lab/kernel-modules.ts";
import { bootVm, type Vm } from "../../src/lab/vm.ts";
import { type BuildOptions, type BuildReport, buildLivePatch } from "../../src/livepatch/build/build.ts";
import { parsePatch } from "../../src/livepatch/build/source/patch.ts";
import { type KernelTrees, prepareTrees } from "../../src/livepatch/build/source/trees.ts";
import { testKernels } from "./kernels.ts";
import { type Edits, patchFromEdits } from "./source-edit.ts";

const refusal = (code: string, exitCode: number) => expect.objectContaining({ code, exitCode });

let folder: string;
let target: TargetKernel;
let trees: KernelTrees;
/** The module's source as a user has it, and where it was built. */
let source: string;
let built: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rekernel-test-"));
  target = await targetKernel((await testKernels()).previous);
  trees = await prepareTrees(target);
  source = join(folder, "gadget-1.0");
  built = join(folder, "build");
  for (const copy of [source, built])
    await cp(join(import.meta.dirname, "modules/gadget"), copy, { recursive: true });
  execFileSync("make", ["-s", "-C", trees.kernel, `M=${built}`, ...trees.makeArgs, "modules"], {
    stdio: ["ignore", "ignore", "pipe"],
  });
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function build(name: string, edits: Edits, more: Partial<BuildOptions> = {}): Promise<BuildReport> {
  const text = await patchFromEdits(source, edits);
  return buildLivePatch({
    target,
    patches: [parsePatch(text, `${name}.patch`), ...(more.patches ?? [])],
    output: join(folder, `${name}.ko`),
    moduleSources: [source],
    moduleFiles: [join(built, "gadget.ko"), join(built, "core/gadget-core.ko")],
    ...(more.target === undefined ? {} : { target: more.target }),
  });
}

/** Whatever main.c shows: a thousand more, and what the new code reaches. */
const inMain: Edits = {
  "main.c": [
    ["return value * 3;", "return value * 5;"],
    [
      "\tWARN_ON(value < 0);\n",
      "\tWARN_ON(value < 0);\n\tWARN_ON(value == 1000);\n\tvalue += 1000;\n\tgadget_core_register(NULL);\n\tgadget_core_register(gadget_open);\n",
    ],
    ["static noinline int with_bug", "static int gadget_open(int mode);\n\nstatic noinline int with_bug"],
    ['\tpr_debug("value %d\\n", value);\n', '\tvalue += 1000;\n\tpr_debug("value %d\\n", value);\n'],
    ["\tsmp_mb();\n", "\tsmp_mb();\n\tvalue += 1000;\n"],
    [
      "fault:\n\tuser_access_end();\n\treturn value + 1;",
      "fault:\n\tuser_access_end();\n\treturn value + 1001;",
    ],
    ["return value + (want_init", "return value + 1000 + (want_init"],
    ["\tcond_resched();\n", "\tcond_resched();\n\tvalue += 1000;\n"],
    // In the kernel: a variable that is not exported, an export of a namespace, one for GPL modules alone.
    [
      "static noinline int with_file(int value)\n{\n",
      `extern char *saved_command_line;
struct bpf_map *bpf_map_get(u32 ufd);

static noinline int with_file(int value)
{
	value += saved_command_line[0] ? 1000 : 0;
	value += IS_ERR(bpf_map_get(-1)) ? 10000 : 0;
	value += ktime_get_boot_fast_ns() > 0 ? 100000 : 0;
`,
    ],
    ["return mode + 1;", "return mode + 1001;"],
    ["? open(10) : -1", "? open(20) : -1"],
  ],
};

const everywhere: Edits = {
  ...inMain,
  // In both gadget and gadget-two.
  "shared.c": [["return value + 1000;", "return value + calls * 1000000 + 1000;"]],
  "limits.c": [["return value + base;", "return value + base * 2;"]],
  "include/gadget.h": [["value > 100 ? 100 : value", "value > 150 ? 150 : value"]],
  "core/gadget-core.c": [["return value * 2;", "return value * 20;"]],
};

const inKernel: Edits = {
  "kernel/kallsyms.c": [
    [
      "\tif (!iter->name[0])\n",
      '\tif (iter->pos == 1)\n\t\tseq_puts(m, "patched\\n");\n\tif (!iter->name[0])\n',
    ],
  ],
  "drivers/block/zram/zram_drv.c": [
    [
      'return scnprintf(buf, PAGE_SIZE, "%u\\n", val);',
      'return scnprintf(buf, PAGE_SIZE, "patched %u\\n", val);',
    ],
  ],
  "drivers/net/dummy.c": [["\tdev->max_mtu = 0;\n", "\tdev->max_mtu = 0;\n\tdev->tx_queue_len = 77;\n"]],
};

describe("one live patch for vmlinux, modules of the kernel, and modules that are not the kernel's", () => {
  let vm: Vm;
  let report: BuildReport;
  const shown = async (module: string): Promise<Record<string, number>> => {
    const { stdout } = await vm.run(`cd /sys/module/${module}/parameters && grep -H . *`);
    return Object.fromEntries(
      stdout
        .trim()
        .split("\n")
        .map((line) => line.split(":"))
        .map(([name, value]) => [name!, Number(value)]),
    );
  };
  const run = async (command: string): Promise<string> => {
    const { exitCode, stdout, stderr } = await vm.run(command);
    expect(exitCode, `${command}: ${stderr}`).toBe(0);
    return stdout;
  };
  const kallsyms = () => run("head -1 /proc/kallsyms");
  const patched = async (): Promise<Record<string, boolean>> => {
    const status = JSON.parse(await run(`rekernel patch status ${report.name} --json`)) as {
      patches: { objects: { name: string; patched: boolean }[] }[];
    };
    return Object.fromEntries(status.patches[0]!.objects.map(({ name, patched: is }) => [name, is]));
  };

  beforeAll(async () => {
    const kernelPatch = parsePatch(await patchFromEdits(trees.kernel, inKernel), "kernel.patch");
    report = await build("everything", everywhere, { patches: [kernelPatch] });
    const files: Record<string, string | Uint8Array> = { "/m/everything.ko": join(folder, "everything.ko") };
    for (const name of ["gadget", "gadget-two", "core/gadget-core"])
      files[`/m/${name.split("/").at(-1)}.ko`] = join(built, `${name}.ko`);
    for (const { name, data } of await modulesInLoadOrder(target.modules!, ["dummy"]))
      files[`/m/${name}.ko`] = data;
    vm = await bootVm({
      kernel: target,
      modules: ["zram"],
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

  test("names each object, and everything is the target's before", () => {
    expect(report.objects.toSorted()).toEqual([
      "dummy",
      "gadget",
      "gadget_core",
      "gadget_two",
      "vmlinux",
      "zram",
    ]);
    expect(report.match.identicalFunctions).toBe(report.match.comparedFunctions);
    expect(report.warnings).toEqual([]);
    expect(report.moduleSources).toMatchObject([{ name: "gadget-1.0", folder: source }]);
    const shared = report.functions.filter(({ name }) => name === "gadget_shared");
    expect(shared.map(({ object }) => object).sort()).toEqual(["gadget", "gadget_two"]);
    // Several functions of the name s_show in vmlinux, and of local_factor in gadget.
    expect(report.functions.find(({ name }) => name === "s_show")?.sympos).toBeGreaterThan(0);
  });

  test("replaces what is loaded at once, and what comes later when it comes", async () => {
    await run("insmod /m/gadget-core.ko");
    expect(await shown("gadget_core")).toEqual({ scale: 21 });
    expect(await kallsyms()).not.toContain("patched");
    await run("rekernel patch load /m/everything.ko");
    expect(await kallsyms()).toBe("patched\n");
    expect(await run("cat /sys/block/zram0/initstate")).toBe("patched 0\n");
    expect(await shown("gadget_core")).toEqual({ scale: 201 });
    expect(await patched()).toEqual({
      vmlinux: true,
      zram: true,
      gadget_core: true,
      gadget: false,
      gadget_two: false,
      dummy: false,
    });

    await run("insmod /m/gadget.ko && insmod /m/gadget-two.ko && insmod /m/dummy.ko numdummies=1");
    expect(Object.values(await patched())).not.toContain(false);
    expect(await run("cat /sys/class/net/dummy0/tx_queue_len")).toBe("77\n");
    const file = `${built}/main.c`.length;
    const fresh = {
      limit: 150,
      factor: 35,
      bug: 1020,
      debug: 1030,
      alternatives: 1041,
      exceptions: 1051,
      own_key: 70,
      static_calls: 1081,
      file: 111_000 + file,
      open: 1021,
      registered: 1,
      scaled: 81,
      shared: 1_001_001,
    };
    expect(await shown("gadget")).toMatchObject(fresh);
    expect([1060, 1061]).toContain((await shown("gadget")).kernel_key);
    expect(await shown("gadget_two")).toEqual({ shared: 1_001_002, scaled: 61 });
  });

  test("finds a module again that was unloaded, and gives everything back", async () => {
    await run("rmmod gadget");
    expect((await patched()).gadget).toBe(false);
    await run("insmod /m/gadget.ko");
    expect(await shown("gadget")).toMatchObject({ limit: 150, registered: 1, open: 1021, scaled: 81 });
    await run(`rekernel patch unload ${report.name}`);
    expect(await kallsyms()).not.toContain("patched");
    expect(await shown("gadget")).toMatchObject({
      limit: 91,
      factor: 21,
      bug: 20,
      alternatives: 41,
      file: `${built}/main.c`.length,
      open: 11,
      registered: 1,
      scaled: 9,
    });
    expect(await shown("gadget_core")).toEqual({ scale: 21 });
    // Now with a module that is loaded already, whose symbols the kernel counts in another table.
    await run("rekernel patch load /m/everything.ko");
    expect(await shown("gadget")).toMatchObject({ limit: 150, factor: 35 });
    await run(`rekernel patch unload ${report.name}`);
    expect(await vm.dmesg()).not.toMatch(/WARNING:|BUG:|Oops:|Call Trace:|livepatch: .*(fail|not found)/);
  });
});

describe("an out-of-tree module", () => {
  test("is left as it is, and its source too", async () => {
    expect((await readdir(source)).sort()).toEqual(
      (await readdir(join(import.meta.dirname, "modules/gadget"))).sort(),
    );
  });

  test("whose file is for another kernel, or cannot be found", async () => {
    const edits: Edits = {
      "limits.c": [
        ["base = 90", "base = 90"],
        ["value + base", "value - base"],
      ],
    };
    const other = join(folder, "other.ko");
    const stock = await modulesInLoadOrder((await targetKernel((await testKernels()).newest)).modules!, [
      "dummy",
    ]);
    await writeFile(other, stock[0]!.data);
    const patches = [
      parsePatch(await patchFromEdits(source, { "limits.c": edits["limits.c"]!.slice(1) }), "x"),
    ];
    const options = { target, patches, output: join(folder, "x.ko"), moduleSources: [source] };
    await expect(buildLivePatch({ ...options, moduleFiles: [other] })).rejects.toEqual(
      refusal("RK-MODULE-TARGET", 4),
    );
    await expect(buildLivePatch(options)).rejects.toEqual(refusal("RK-MODULE-MISSING", 4));
  });

  test("with a source that is not what it was built from", async () => {
    const changed = join(folder, "gadget-1.1");
    await cp(source, changed, { recursive: true });
    const patch = await patchFromEdits(source, { "limits.c": [["value + base", "value - base"]] });
    execFileSync("sed", ["-i", "s/value \\* 2/value * 3/", join(changed, "core/gadget-core.c")]);
    execFileSync("sed", ["-i", "s/value + base;/value + base + 1;/", join(changed, "limits.c")]);
    const failed = buildLivePatch({
      target,
      patches: [parsePatch(patch.replaceAll("value + base;", "value + base + 1;"), "x.patch")],
      output: join(folder, "x.ko"),
      moduleSources: [changed],
      moduleFiles: [join(built, "gadget.ko")],
    });
    await expect(failed).rejects.toEqual(refusal("RK-SOURCE-MISMATCH", 4));
  });

  test("its own static key, and a symbol of a module that it does not need, cannot be bound in time", async () => {
    await expect(build("key", { "main.c": [["? -value : value", "? -value - 1 : value"]] })).rejects.toEqual(
      refusal("RK-KEY-OF-MODULE", 4),
    );
    const stranger = [
      "int gadget_limit(void)\n{\n",
      "void *tun_get_socket(void *file);\n\nint gadget_limit(void)\n{\n\tif (tun_get_socket(NULL))\n\t\treturn 0;\n",
    ] as const;
    await expect(build("stranger", { "limits.c": [stranger] })).rejects.toEqual(
      refusal("RK-SYMBOL-OF-MODULE", 4),
    );
  });

  test("a folder that is no module's source, a patch that fits several", async () => {
    const patch = parsePatch(await patchFromEdits(source, inMain), "x.patch");
    const options = { target, patches: [patch], output: join(folder, "x.ko") };
    await expect(buildLivePatch({ ...options, moduleSources: [trees.kernel] })).rejects.toEqual(
      refusal("RK-MODULE-SOURCE", 2),
    );
    await expect(buildLivePatch({ ...options, moduleSources: [source, built] })).rejects.toEqual(
      refusal("RK-PATCH-AMBIGUOUS", 2),
    );
  });
});

test("a Module.symvers of another build is refused", async () => {
  const { readFile } = await import("node:fs/promises");
  const symvers = join(folder, "Module.symvers");
  const text = await readFile(target.symvers, "utf8");
  await writeFile(symvers, text.replace(/^0x[0-9a-f]{8}(\tether_setup\t)/m, "0x12345678$1"));
  const patch = parsePatch(
    await patchFromEdits(trees.kernel, { "drivers/net/dummy.c": inKernel["drivers/net/dummy.c"]! }),
    "x.patch",
  );
  const failed = buildLivePatch({
    target: { ...target, symvers },
    patches: [patch],
    output: join(folder, "x.ko"),
  });
  await expect(failed).rejects.toEqual(refusal("RK-SYMVERS-MISMATCH", 4));
});
