import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { startSupervised } from "../../../src/lab/process.ts";
import { root } from "../cli/run.ts";

const privateFolder = () => mkdtempSync(join(tmpdir(), "rekernel-process-"));

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(20);
}

test("the channels are descriptors 3, 4 and 5, and the folder goes when the program ends", async () => {
  const folder = privateFolder();
  const child = startSupervised(
    ["sh", "-c", "echo c >&3; echo a >&4; echo m >&5; echo bad >&2; exit 7"],
    folder,
  );
  const read = { console: "", control: "", monitor: "" };
  for (const name of ["console", "control", "monitor"] as const)
    child[name].on("data", (data) => (read[name] += data));
  child.start();
  expect(await child.ended).toEqual({ exitCode: 7 });
  expect(read).toEqual({ console: "c\n", control: "a\n", monitor: "m\n" });
  expect(child.stderr()).toBe("bad\n");
  expect(existsSync(folder)).toBe(false);
});

test("a program that was never started leaves nothing", async () => {
  const folder = privateFolder();
  const child = startSupervised(["false"], folder);
  child.kill();
  await child.ended;
  expect(existsSync(folder)).toBe(false);
});

test.each([true, false])(
  "SIGKILL of the owner ends the program and removes the folder (started: %s)",
  async (started) => {
    const folder = privateFolder();
    const script = `
    import { startSupervised } from ${JSON.stringify(join(root, "src/lab/process.ts"))};
    const child = startSupervised(["sh", "-c", "echo $$ >&3; exec sleep 1000"], ${JSON.stringify(folder)});
    child.console.on("data", (data) => console.log(data.toString()));
    ${started ? "child.start();" : "console.log('0');"}
    setInterval(() => {}, 1000);
  `;
    const owner = spawn(process.execPath, ["--input-type=module", "-e", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    try {
      const pid = await new Promise<number>((resolve) =>
        owner.stdout.on("data", (data) => resolve(Number(data))),
      );
      owner.kill("SIGKILL");
      await until(() => !existsSync(folder));
      if (started) await until(() => !existsSync(`/proc/${pid}`));
    } finally {
      owner.kill("SIGKILL");
      rmSync(folder, { recursive: true, force: true });
    }
  },
);
