import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { onTestFinished } from "vitest";
import type { HostPaths } from "../../../src/host/paths.ts";

/**
 * A machine made of files: contents by path below /proc, /sys, /dev and /run; a path that ends with / is an empty folder.
 * Links are made as they are given, and need not lead anywhere.
 * The texts in these tests were read from a guest that ran stock 6.12.115 unless they say otherwise.
 */
export function fixtureHost(
  files: Readonly<Record<string, string | Uint8Array>>,
  links: Readonly<Record<string, string>> = {},
): HostPaths {
  const root = mkdtempSync(join(tmpdir(), "rekernel-host-"));
  onTestFinished(() => rmSync(root, { recursive: true, force: true }));
  for (const folder of ["proc", "sys", "dev", "run"]) mkdirSync(join(root, folder));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(path.endsWith("/") ? join(root, path) : dirname(join(root, path)), { recursive: true });
    if (!path.endsWith("/")) writeFileSync(join(root, path), text);
  }
  for (const [path, target] of Object.entries(links)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    symlinkSync(target, join(root, path));
  }
  const at = (folder: string) => join(root, folder);
  return { proc: at("proc"), sys: at("sys"), dev: at("dev"), run: at("run") };
}

export const samplePatch = {
  "/sys/kernel/livepatch/livepatch_sample/enabled": "1\n",
  "/sys/kernel/livepatch/livepatch_sample/transition": "0\n",
  "/sys/kernel/livepatch/livepatch_sample/replace": "0\n",
  "/sys/kernel/livepatch/livepatch_sample/vmlinux/patched": "1\n",
  "/sys/kernel/livepatch/livepatch_sample/vmlinux/cmdline_proc_show,1/": "",
  "/sys/module/livepatch_sample/initstate": "live\n",
  "/sys/module/livepatch_sample/refcnt": "1\n",
  "/sys/module/livepatch_sample/taint": "OEK\n",
};
