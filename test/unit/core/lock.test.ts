import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { lockFile, tryLockFile, withLock } from "../../../src/core/lock.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "rekernel-test-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

test("one holder at a time, in this process as between processes", async () => {
  const path = join(folder, "a.lock");
  const order: string[] = [];
  const first = await lockFile(path);
  expect(await tryLockFile(path)).toBeUndefined();
  const second = withLock(path, { onWait: () => order.push("waits") }, async () => order.push("second"));
  await expect.poll(() => order).toEqual(["waits"]);
  order.push("first is done");
  await first.release();
  await second;
  expect(order).toEqual(["waits", "first is done", "second"]);
});

test("a process that is killed leaves no lock", async () => {
  const path = join(folder, "b.lock");
  const lockModule = join(import.meta.dirname, "../../../src/core/lock.ts");
  const script = `import { lockFile } from ${JSON.stringify(lockModule)};
    await lockFile(${JSON.stringify(path)}); console.log("held"); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ["--input-type=module-typescript", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await new Promise((held) => child.stdout.once("data", held));
  expect(await tryLockFile(path)).toBeUndefined();
  child.kill("SIGKILL");
  await using lock = await lockFile(path);
  expect(lock).toBeDefined();
});

test("waiting can be given up", async () => {
  const path = join(folder, "c.lock");
  await using _held = await lockFile(path);
  const controller = new AbortController();
  const waiting = lockFile(path, {
    signal: controller.signal,
    onWait: () => controller.abort(new Error("enough")),
  });
  await expect(waiting).rejects.toThrow();
});

test("a lock that cannot be made is an error that says so", async () => {
  await expect(lockFile(join(folder, "x".repeat(300)))).rejects.toMatchObject({
    code: "RK-LOCK",
    exitCode: 1,
  });
});
