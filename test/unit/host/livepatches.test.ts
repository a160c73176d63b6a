import { expect, test } from "vitest";
import {
  parseFunctionFolder,
  readLivePatches,
  readTransition,
  requireLivePatchSupport,
} from "../../../src/host/livepatches.ts";
import { isLivePatch, loadedModule } from "../../../src/host/modules.ts";
import { fixtureHost, samplePatch } from "./fixture-host.ts";

test("reads a patch of 6.12", async () => {
  const host = fixtureHost(samplePatch);
  expect(await readLivePatches(host)).toEqual([
    {
      name: "livepatch_sample",
      enabled: true,
      transition: false,
      replace: false,
      stackOrder: undefined,
      objects: [{ name: "vmlinux", patched: true, functions: [{ name: "cmdline_proc_show", sympos: 1 }] }],
    },
  ]);
  expect(await readTransition("livepatch_sample", host)).toEqual({ enabled: true, transition: false });
  expect(await readTransition("other", host)).toBeUndefined();
});

test("does without what older kernels lack, and takes what newer ones add", async () => {
  const folder = "/sys/kernel/livepatch/fix";
  const old = fixtureHost({
    [`${folder}/enabled`]: "0\n",
    [`${folder}/transition`]: "1\n",
    [`${folder}/ext4/f,3/`]: "",
  });
  expect(await readLivePatches(old)).toEqual([
    {
      name: "fix",
      enabled: false,
      transition: true,
      replace: undefined,
      stackOrder: undefined,
      objects: [{ name: "ext4", patched: undefined, functions: [{ name: "f", sympos: 3 }] }],
    },
  ]);
  const since614 = fixtureHost({
    ...samplePatch,
    "/sys/kernel/livepatch/livepatch_sample/stack_order": "1\n",
  });
  expect((await readLivePatches(since614))[0]?.stackOrder).toBe(1);
});

test("a patch that goes away while it is read is left out", async () => {
  const host = fixtureHost({ "/sys/kernel/livepatch/gone/": "" });
  expect(await readLivePatches(host)).toEqual([]);
});

test("tells a kernel without live patching", async () => {
  await expect(requireLivePatchSupport(fixtureHost({}))).rejects.toMatchObject({
    code: "RK-NO-LIVEPATCH",
    exitCode: 5,
  });
});

test("function folders carry the symbol's position", () => {
  expect(parseFunctionFolder("a,b,2")).toEqual({ name: "a,b", sympos: 2 });
  for (const name of ["patched", "f,", ",1", "f,x", "f,-1"])
    expect(parseFunctionFolder(name)).toBeUndefined();
});

test("a module's taint tells that it is a live patch", async () => {
  const host = fixtureHost({ ...samplePatch, "/sys/module/builtin/parameters/": "" });
  const module = await loadedModule("livepatch_sample", host);
  expect(module).toMatchObject({ state: "live", references: 1, taint: "OEK" });
  expect(isLivePatch(module!)).toBe(true);
  expect(await loadedModule("builtin", host)).toBeUndefined();
});
