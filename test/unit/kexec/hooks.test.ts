import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { hooksOf, runHooks } from "../../../src/kexec/hooks.ts";

function hookFolder(scripts: Readonly<Record<string, string>>, mode = 0o755): string {
  const folder = mkdtempSync(join(tmpdir(), "rekernel-hooks-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  for (const [name, script] of Object.entries(scripts)) {
    const path = join(folder, "pre-exec", name);
    mkdirSync(join(path, ".."), { recursive: true });
    writeFileSync(path, `#!/bin/sh\n${script}\n`);
    chmodSync(path, mode);
  }
  return folder;
}

const next = { release: "6.12.117", image: "/boot/vmlinuz", commandLine: "root=/dev/vda1 quiet" };

test("hooks run in the order of their names, and leftovers do not", async () => {
  const script =
    'echo "$REKERNEL_KEXEC_STAGE $REKERNEL_KEXEC_RELEASE $REKERNEL_KEXEC_IMAGE $REKERNEL_KEXEC_COMMAND_LINE"';
  const hookFolderPath = hookFolder({
    "20-second": "echo second; pwd",
    "10_first": script,
    "30-old.dpkg-old": "exit 1",
    "backup~": "exit 1",
    "with.suffix": "exit 1",
  });
  const runs = await runHooks("pre-exec", next, { hookFolder: hookFolderPath });
  expect(runs.map(({ path }) => path)).toEqual(
    ["10_first", "20-second"].map((name) => join(hookFolderPath, "pre-exec", name)),
  );
  expect(runs[0]?.output).toBe("pre-exec 6.12.117 /boot/vmlinuz root=/dev/vda1 quiet\n");
  expect(runs[1]?.output).toBe("second\n/\n");
});

test("what cannot be executed is no hook, and no folder means no hooks", async () => {
  expect(await hooksOf("pre-exec", hookFolder({ a: "exit 1" }, 0o644))).toEqual([]);
  expect(await runHooks("pre-load", next, { hookFolder: hookFolder({ a: "exit 1" }) })).toEqual([]);
  expect(await runHooks("pre-exec", next, { hookFolder: "/nowhere" })).toEqual([]);
  expect(
    await runHooks("pre-exec", next, { hookFolder: hookFolder({ a: "exit 1" }), noHooks: true }),
  ).toEqual([]);
});

test("a hook that fails stops the way, with what it said last, and none runs after it", async () => {
  const folder = hookFolder({
    "1-busy": "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; echo backup runs >&2; exit 7",
    "2-never": "touch $0.ran",
  });
  await expect(runHooks("pre-exec", next, { hookFolder: folder })).rejects.toMatchObject({
    code: "RK-KEXEC-HOOK",
    exitCode: 4,
    message: `The hook ${folder}/pre-exec/1-busy stops the kexec: it exited with 7.`,
    details: expect.stringMatching(/line 1999\nbackup runs$/),
  });
  expect(await hooksOf("pre-exec", folder)).toHaveLength(2);
});

test("a hook whose interpreter is missing is told", async () => {
  const folder = hookFolder({});
  mkdirSync(join(folder, "pre-exec"));
  writeFileSync(join(folder, "pre-exec/x"), "#!/nowhere/sh\n");
  chmodSync(join(folder, "pre-exec/x"), 0o755);
  await expect(runHooks("pre-exec", next, { hookFolder: folder })).rejects.toMatchObject({
    message: expect.stringContaining("it cannot be started"),
  });
});

test("a hook that takes too long ends with all it started", async () => {
  const folder = hookFolder({ slow: "sleep 1000 & echo $! >&2; wait" });
  const failure = await runHooks("pre-exec", next, { hookFolder: folder, hookTimeoutMs: 700 }).catch(
    (error) => error,
  );
  expect(failure).toMatchObject({
    code: "RK-KEXEC-HOOK",
    message: expect.stringContaining("it took longer than 0.7 seconds"),
  });
  const child = Number(failure.details.trim());
  await expect.poll(() => isAlive(child)).toBe(false);
});

test("a daemon that a hook leaves behind does not hold it up", async () => {
  const folder = hookFolder({ daemon: "setsid sleep 5 & echo started" });
  const runs = await runHooks("pre-exec", next, { hookFolder: folder, hookTimeoutMs: 4000 });
  expect(runs[0]?.output).toBe("started\n");
});

test("Ctrl-C ends a hook", async () => {
  const controller = new AbortController();
  const folder = hookFolder({ slow: "sleep 1000" });
  const work = runHooks("pre-exec", next, { hookFolder: folder, signal: controller.signal });
  setTimeout(() => controller.abort(new Error("interrupted")), 100);
  await expect(work).rejects.toThrow("interrupted");
});

/** A zombie has ended: whose child it is now may never ask. */
function isAlive(pid: number): boolean {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}
