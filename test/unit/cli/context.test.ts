import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { type CommandResult, root, run } from "./run.ts";

const folder = mkdtempSync(join(tmpdir(), "rekernel-context-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A program around one piece of work in a command's context. */
function program(name: string, json: boolean, work: string): string {
  const file = join(folder, `${name}.ts`);
  writeFileSync(
    file,
    `import { setTimeout as sleep } from "node:timers/promises";
import { runCommand } from "${join(root, "src/cli/context.ts")}";
import { RekernelError } from "${join(root, "src/core/errors.ts")}";
void [sleep, RekernelError];
await runCommand(${json}, async (context) => {\n${work}\n});\n`,
  );
  return file;
}

async function signalled(file: string, signal: NodeJS.Signals): Promise<CommandResult> {
  const child = spawn(process.execPath, [file], { stdio: ["ignore", "pipe", "pipe"] });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (data) => {
    if (stdout === "") child.kill(signal);
    stdout += data;
  });
  child.stderr.on("data", (data) => (stderr += data));
  const [exitCode] = await once(child, "close");
  return { exitCode, stdout, stderr };
}

const waitsAndCleansUp = `
  process.stdout.write("ready\\n");
  try {
    await sleep(60_000, undefined, { signal: context.signal });
  } finally {
    await sleep(50);
    process.stdout.write("cleaned up\\n");
  }`;

test.each([
  ["SIGINT", 130],
  ["SIGTERM", 143],
  ["SIGHUP", 129],
] as const)("%s aborts the work, waits until it has cleaned up, and exits with %d", async (signal, code) => {
  const { exitCode, stdout, stderr } = await signalled(program(signal, false, waitsAndCleansUp), signal);
  expect(exitCode).toBe(code);
  expect(stdout).toBe("ready\ncleaned up\n");
  expect(stderr).toBe("rekernel: Interrupted.\n  [RK-INTERRUPTED]\n");
});

test("with --json an interruption is an error document", async () => {
  const { stdout } = await signalled(program("json", true, waitsAndCleansUp), "SIGINT");
  const document = stdout.slice(stdout.indexOf("{"));
  expect(JSON.parse(document)).toEqual({
    error: { code: "RK-INTERRUPTED", message: "Interrupted.", exitCode: 130 },
  });
});

test("output for people and the JSON document never mix", async () => {
  const work = `context.print("for people"); context.result({ at: 0xffffffff81000000n, of: new Map([["a", new Set([1])]]) });`;
  const text = await run(process.execPath, [program("text", false, work)]);
  expect(text).toEqual({ exitCode: 0, stdout: "for people\n", stderr: "" });
  const json = await run(process.execPath, [program("document", true, work)]);
  expect(JSON.parse(json.stdout)).toEqual({ at: "0xffffffff81000000", of: { a: [1] } });
});

test("what a command returns and throws decides the exit code", async () => {
  expect((await run(process.execPath, [program("three", false, "return 3;")])).exitCode).toBe(3);
  const refused = `throw new RekernelError("refused", "RK-EXAMPLE", "No.");`;
  const { exitCode, stderr } = await run(process.execPath, [program("refused", false, refused)]);
  expect(exitCode).toBe(4);
  expect(stderr).toBe("rekernel: No.\n  [RK-EXAMPLE]\n");
});

test("a defect shows no stack trace unless it is asked for", async () => {
  const file = program("defect", false, "context.nothing.here;");
  const quiet = await run(process.execPath, [file]);
  expect(quiet.exitCode).toBe(1);
  expect(quiet.stderr).toContain("[RK-INTERNAL]");
  expect(quiet.stderr).not.toMatch(/^\s+at /m);
  const debug = await run(process.execPath, [file], { REKERNEL_DEBUG: "1" });
  expect(debug.stderr).toMatch(/^\s+at /m);
});

test("a reader that goes away ends the work, without a word", async () => {
  const file = program(
    "endless",
    false,
    `for (;;) { context.signal.throwIfAborted(); context.print("line"); await sleep(1); }`,
  );
  const command = `"${process.execPath}" "${file}" | head -n 1; echo "\${PIPESTATUS[0]}"`;
  expect(await run("bash", ["-c", command])).toEqual({ exitCode: 0, stdout: "line\n141\n", stderr: "" });
});
