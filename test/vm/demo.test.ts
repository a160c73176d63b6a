import { execFile } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";

const main = join(import.meta.dirname, "../../demo/main.ts");

/** The demonstration checks every one of its steps itself and fails with the first that is not as it must be. */
test("npm start's demonstration plays to its end", { timeout: 900_000 }, async () => {
  const temporary = await mkdtemp(join(tmpdir(), "rekernel-test-"));
  onTestFinished(() => rm(temporary, { recursive: true, force: true }));
  const { code, stdout, stderr } = await run(temporary);
  expect({ code, stderr: code === 0 ? "" : stderr }).toEqual({ code: 0, stderr: "" });

  const told = stdout.match(/The defect is (there|gone)\./g);
  expect(told).toEqual(["there", "gone", "there", "gone", "gone"].map((state) => `The defect is ${state}.`));
  expect(stdout).toMatch(/^ {3}functions replaced +1$/m);
  for (const row of [
    "live patch built in",
    "while the patch is loaded",
    "downtime by kexec",
    "downtime by reboot",
  ])
    expect(stdout).toMatch(new RegExp(`^ +${row}.* \\d`, "m"));
  expect(stdout.split("\n").filter((line) => line.length > 80)).toEqual([]);
  expect((await readdir(temporary)).filter((name) => name.startsWith("rekernel-"))).toEqual([]);
});

function run(temporary: string): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [main],
      { env: { ...process.env, TMPDIR: temporary } },
      (_error, stdout, stderr) => {
        resolve({ code: child.exitCode ?? -1, stdout, stderr });
      },
    );
  });
}
