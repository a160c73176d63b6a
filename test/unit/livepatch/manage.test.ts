import { expect, test } from "vitest";
import { SyscallError } from "../../../src/host/syscall.ts";
import { explainLoadFailure } from "../../../src/livepatch/manage/explain.ts";
import { requireRelease } from "../../../src/livepatch/manage/patch-file.ts";
import { listPatches, patchStatus } from "../../../src/livepatch/manage/status.ts";
import {
  describeWaiting,
  explainWaiting,
  waitForTransition,
} from "../../../src/livepatch/manage/transition.ts";
import { patchName } from "../../../src/livepatch/manage/unload.ts";
import { fixtureHost, samplePatch } from "../host/fixture-host.ts";

const task = (tid: number) => ({ tid, pid: 7, command: "server", stack: ["do_sys_poll+0x504/0x610"] });

test("lists patches in the order of their stack", async () => {
  const patch = (name: string, order: number) => ({
    [`/sys/kernel/livepatch/${name}/enabled`]: "1\n",
    [`/sys/kernel/livepatch/${name}/transition`]: "0\n",
    [`/sys/kernel/livepatch/${name}/stack_order`]: `${order}\n`,
  });
  const host = fixtureHost({ ...patch("a", 2), ...patch("b", 1) });
  expect((await listPatches(host)).map(({ name }) => name)).toEqual(["b", "a"]);
});

test("status shows one patch with its module, or says that it is not loaded", async () => {
  const host = fixtureHost(samplePatch);
  expect(await patchStatus("livepatch-sample.ko", host)).toMatchObject([
    { name: "livepatch_sample", module: { taint: "OEK" }, waiting: [] },
  ]);
  await expect(patchStatus("other", host)).rejects.toMatchObject({ code: "RK-NOT-LOADED", exitCode: 1 });
});

test("a transition ends when the kernel says so, is turned round, or stalls", async () => {
  const folder = "/sys/kernel/livepatch/fix";
  const machine = (enabled: string, transition: string) =>
    fixtureHost({
      [`${folder}/enabled`]: `${enabled}\n`,
      [`${folder}/transition`]: `${transition}\n`,
      "/proc/7/task/8/patch_state": "0\n",
      "/proc/7/task/8/comm": "server\n",
    });
  const wait = (enabled: string, transition: string, target: boolean) =>
    waitForTransition("fix", target, { timeoutMs: 20, host: machine(enabled, transition) });
  expect(await wait("1", "0", true)).toEqual({ kind: "done" });
  expect(await wait("0", "1", true)).toEqual({ kind: "reversed" });
  expect(await wait("1", "1", true)).toMatchObject({
    kind: "stalled",
    interrupted: false,
    waiting: [{ tid: 8, pid: 7, command: "server" }],
  });
  const none = fixtureHost({ "/sys/kernel/livepatch/": "" });
  expect(await waitForTransition("fix", false, { timeoutMs: 20, host: none })).toEqual({ kind: "done" });
  expect(await waitForTransition("fix", true, { timeoutMs: 20, host: none })).toEqual({ kind: "reversed" });
});

test("names who holds a transition up", () => {
  expect(describeWaiting([task(7)])).toBe("waiting for 1 task: server (7)");
  expect(describeWaiting([1, 2, 3, 4].map(task))).toContain("4 tasks: server (1), server (2), server (3), …");
  expect(explainWaiting([task(8)])).toBe("server (thread 8 of pid 7)\n    do_sys_poll+0x504/0x610");
});

test("a module's file name gives the patch's name", () => {
  for (const name of ["/tmp/fix-1.ko", "fix-1", "fix_1.ko"]) expect(patchName(name)).toBe("fix_1");
});

test("a patch for another release is refused", () => {
  expect(() => requireRelease({ path: "fix.ko", release: "6.1.0" }, "6.12.115")).toThrow(/runs 6\.12\.115/);
  requireRelease({ path: "fix.ko", release: "6.1.0" }, "6.1.0");
});

test.each([
  [1, "RK-MODULE-NOT-PERMITTED", 5],
  [2, "RK-MODULE-REJECTED", 1],
  [8, "RK-MODULE-REJECTED", 1],
  [16, "RK-BUSY", 1],
  [17, "RK-NAME-TAKEN", 4],
  [126, "RK-MODULE-SIGNATURE", 5],
])("finit_module's error number %i is %s", (errno, code, exitCode) => {
  const error = explainLoadFailure("fix.ko", new SyscallError("finit_module", errno), ["livepatch: no"]);
  expect(error).toMatchObject({ code, exitCode, details: "The kernel says:\nlivepatch: no" });
});

test.each([
  [
    "RK-STATE-INCOMPATIBLE",
    4,
    22,
    "livepatch: Livepatch patch (new) is not compatible with the already installed livepatches.",
  ],
  ["RK-CALLBACK-FAILED", 1, 1, "livepatch: pre-patch callback failed for object 'vmlinux'"],
] as const)("%s is told by the kernel's log, whatever the error number", (code, exitCode, errno, line) => {
  const error = explainLoadFailure("new.ko", new SyscallError("finit_module", errno), ["other", line]);
  expect(error).toMatchObject({ code, exitCode, details: expect.stringContaining(line) });
});
