import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, describe, expect, test } from "vitest";
import { checkPackages } from "../../../src/doctor/packages.ts";
import { checkKexec, checkLivePatch } from "../../../src/doctor/running-kernel.ts";
import type { HostPaths } from "../../../src/host/paths.ts";
import { rekernel } from "../cli/run.ts";

const folder = mkdtempSync(join(tmpdir(), "rekernel-doctor-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A machine made of files: paths below /proc and /sys, and what they hold. */
function machine(name: string, files: Record<string, string | Uint8Array>): HostPaths {
  for (const [path, content] of Object.entries(files)) {
    const file = join(folder, name, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, content);
  }
  const at = (part: string) => join(folder, name, part);
  return { proc: at("proc"), sys: at("sys"), dev: at("dev"), run: at("run") };
}

const everyCapability = "Name:\tnode\nCapEff:\t000001ffffffffff\n";
const debianConfig = gzipSync(
  "CONFIG_LIVEPATCH=y\nCONFIG_HAVE_RELIABLE_STACKTRACE=y\nCONFIG_KEXEC_FILE=y\n# CONFIG_MODULE_SIG_FORCE is not set\n",
);
const able = {
  "proc/self/status": everyCapability,
  "proc/config.gz": debianConfig,
  "proc/sys/kernel/osrelease": "6.12.115+deb12-amd64\n",
  "proc/sys/kernel/kexec_load_disabled": "0\n",
  "proc/sys/kernel/modules_disabled": "0\n",
  "proc/sys/kernel/ftrace_enabled": "1\n",
  "sys/kernel/livepatch/.keep": "",
  "sys/kernel/kexec_loaded": "0\n",
  "sys/kernel/security/lockdown": "[none] integrity confidentiality\n",
  "sys/module/module/parameters/sig_enforce": "N\n",
};

/** State by check. */
async function states(checks: Promise<{ name: string; state: string }[]>): Promise<Record<string, string>> {
  return Object.fromEntries((await checks).map(({ name, state }) => [name, state]));
}

describe("the running kernel", () => {
  test("a stock kernel under root can do all", async () => {
    const host = machine("able", able);
    expect(await states(checkLivePatch(host))).toEqual({
      privilege: "ok",
      livepatch: "ok",
      "reliable-stacks": "ok",
      "module-loading": "ok",
    });
    expect(await states(checkKexec(host))).toEqual({ privilege: "ok", kexec: "ok", lockdown: "ok" });
  });

  test("what is switched off until the next boot is missing", async () => {
    const host = machine("latched", {
      ...able,
      "proc/sys/kernel/kexec_load_disabled": "1\n",
      "proc/sys/kernel/modules_disabled": "1\n",
      "proc/sys/kernel/ftrace_enabled": "0\n",
    });
    expect(await states(checkLivePatch(host))).toMatchObject({
      ftrace: "missing",
      "module-loading": "missing",
    });
    expect(await states(checkKexec(host))).toMatchObject({ "kexec-load-disabled": "missing" });
  });

  test("lockdown is worth a note: only what is signed is taken", async () => {
    const host = machine("locked", {
      ...able,
      "sys/kernel/security/lockdown": "none [integrity] confidentiality\n",
    });
    expect(await states(checkLivePatch(host))).toMatchObject({ "module-loading": "note" });
    expect(await states(checkKexec(host))).toMatchObject({ lockdown: "note" });
  });

  test("without a configuration the kernel's symbols tell", async () => {
    const { "proc/config.gz": _config, ...others } = able;
    const symbols =
      "0000000000000000 T _text\n0000000000000000 T arch_stack_walk_reliable\n0000000000000000 t x\t[m]\n";
    const host = machine("symbols", {
      ...others,
      "proc/kallsyms": symbols,
      "proc/sys/kernel/osrelease": "0.0.0-none\n",
    });
    expect(await states(checkLivePatch(host))).toMatchObject({ "reliable-stacks": "ok" });
    expect(await states(checkKexec(host))).toMatchObject({ kexec: "missing" });
    const silent = machine("silent", { ...others, "proc/sys/kernel/osrelease": "0.0.0-none\n" });
    expect(await states(checkLivePatch(silent))).toMatchObject({ "reliable-stacks": "unknown" });
  });

  test("a kernel without the features says so", async () => {
    const host = machine("bare", {
      "proc/self/status": everyCapability,
      "proc/sys/kernel/osrelease": "6.18.0\n",
    });
    expect(await states(checkLivePatch(host))).toMatchObject({ livepatch: "missing" });
    expect(await states(checkKexec(host))).toMatchObject({ kexec: "missing" });
  });

  test("a process without the capability is told", async () => {
    const host = machine("user", { ...able, "proc/self/status": "CapEff:\t0000000000000000\n" });
    expect(await states(checkLivePatch(host))).toMatchObject({ privilege: "missing" });
    expect(await states(checkKexec(host))).toMatchObject({ privilege: "missing" });
  });
});

test("a tool that is not on the PATH is missing, with the package that brings it", async () => {
  const { PATH } = process.env;
  process.env.PATH = "/nonexistent";
  try {
    const checks = await checkPackages("lab");
    expect(checks).toContainEqual(
      expect.objectContaining({
        name: "qemu-system-x86",
        state: "missing",
        hint: expect.stringContaining("apt-get install qemu-system-x86"),
      }),
    );
  } finally {
    process.env.PATH = PATH;
  }
});

test("rekernel doctor exits with 0 exactly when everything asked for is there", async () => {
  const { exitCode, stdout } = await rekernel(["doctor", "kexec", "--json"]);
  const { capabilities } = JSON.parse(stdout);
  expect(capabilities).toHaveLength(1);
  expect(exitCode).toBe(capabilities[0].available ? 0 : 5);
});
