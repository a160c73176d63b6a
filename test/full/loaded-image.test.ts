import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { bootableKernel } from "../../src/kernel/target.ts";
import { bootVm } from "../../src/lab/vm.ts";
import { bundle } from "../vm/bundle.ts";
import { testKernels } from "../vm/kernels.ts";

const scripts = join(import.meta.dirname, "../vm/purgatory");

describe("the loaded image", () => {
  test("can be read back from Linux 6.1", async () => {
    const { series61 } = await testKernels();
    const [load, read] = await Promise.all(
      ["load-in-guest.ts", "read-in-guest.ts"].map((name) => bundle(join(scripts, name))),
    );
    await using vm = await bootVm({ kernel: await bootableKernel(series61) });
    const none = await vm.run([process.execPath, read!]);
    expect(none.exitCode, none.stderr).toBe(0);
    expect(JSON.parse(none.stdout)).toEqual({ state: "none" });
    const folder = `/lab/kernels/${series61}`;
    const loaded = await vm.run([process.execPath, load!, `${folder}/vmlinuz`, `${folder}/initrd`]);
    expect(loaded.exitCode, loaded.stderr).toBe(0);
    expect(JSON.parse(loaded.stdout)).toMatchObject({
      right: { state: "intact" },
      wrong: { state: "differs" },
    });
  });

  test("is out of reach where the kernel keeps its memory to itself", async () => {
    const { newest } = await testKernels();
    const read = await bundle(join(scripts, "read-in-guest.ts"));
    const kernel = await bootableKernel(newest);
    await using vm = await bootVm({ kernel, commandLine: "lockdown=confidentiality" });
    const { exitCode, stdout, stderr } = await vm.run([process.execPath, read]);
    expect(exitCode, stderr).toBe(0);
    expect(JSON.parse(stdout)).toEqual({
      state: "unreadable",
      reason: "this kernel does not let this process read /proc/kcore",
    });
  });
});
