/** A patch that touches ten units of vmlinux, with one function of each changed. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { TargetKernel } from "../src/kernel/target.ts";
import { prepareTrees } from "../src/livepatch/build/source/trees.ts";

const functions: readonly [path: string, name: string][] = [
  ["net/ipv4/tcp_input.c", "tcp_enter_cwr"],
  ["net/ipv4/tcp_output.c", "tcp_send_fin"],
  ["net/ipv4/udp.c", "udp_push_pending_frames"],
  ["net/core/dev.c", "dev_close"],
  ["fs/namei.c", "path_put"],
  ["fs/open.c", "filp_close"],
  ["kernel/signal.c", "flush_signals"],
  ["kernel/cgroup/cgroup.c", "cgroup_path_from_kernfs_id"],
  ["mm/mmap.c", "vm_munmap"],
  ["drivers/base/core.c", "device_initialize"],
];

export async function tenUnitPatch(target: TargetKernel): Promise<string> {
  const { pristine } = await prepareTrees(target);
  const hunks: string[] = [];
  for (const [path, name] of functions) {
    const source = await readFile(join(pristine, path), "latin1");
    const start = new RegExp(`^\\w[^;\\n]*\\b${name}\\([^;{]*\\)\\n\\{\\n`, "m").exec(source);
    if (!start) throw new Error(`${path} of ${target.release} has no ${name}() as it was in 6.12`);
    const brace = source.slice(0, start.index + start[0].length).split("\n").length - 1;
    const body = source.split("\n")[brace];
    hunks.push(
      `--- a/${path}\n+++ b/${path}\n@@ -${brace},2 +${brace},3 @@\n {\n+\tasm volatile("nop");\n ${body}\n`,
    );
  }
  return hunks.join("");
}
