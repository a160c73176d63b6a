import { mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { allCommands, rekernel, root, run } from "./run.ts";

const folder = mkdtempSync(join(tmpdir(), "rekernel-cli-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("--version prints the package's version", async () => {
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  expect(await rekernel(["--version"])).toEqual({ exitCode: 0, stdout: `${version}\n`, stderr: "" });
});

test("bin/rekernel works through symbolic links, relative ones too", async () => {
  symlinkSync(join(root, "bin/rekernel"), join(folder, "first"));
  symlinkSync("first", join(folder, "second"));
  expect((await run(join(folder, "second"), ["--version"])).exitCode).toBe(0);
});

test("--help goes to standard output, with the exit codes", async () => {
  const { exitCode, stdout, stderr } = await rekernel(["--help"]);
  expect(exitCode).toBe(0);
  expect(stderr).toBe("");
  expect(stdout).toMatch(/Exit codes:[\s\S]*5 {2}this machine cannot/);
});

describe("wrong usage exits with 2 and points at the help", () => {
  test.each([
    { args: [], message: "rekernel needs a command: doctor, explain, image,", hint: "rekernel --help" },
    { args: ["patch"], message: "rekernel patch needs a command:", hint: "rekernel patch --help" },
    { args: ["paint"], message: "Unknown command 'paint'.", hint: "rekernel --help" },
    { args: ["patch", "paint"], message: "Unknown command 'paint'.", hint: "rekernel patch --help" },
    { args: ["--paint"], message: "Unknown option '--paint'.", hint: "rekernel --help" },
    { args: ["doctor", "--paint"], message: "Unknown option '--paint'.", hint: "rekernel doctor --help" },
    { args: ["doctor", "paint"], message: "'paint' is invalid", hint: "rekernel doctor --help" },
  ])("$args", async ({ args, message, hint }) => {
    const { exitCode, stdout, stderr } = await rekernel(args);
    expect(exitCode).toBe(2);
    expect(stdout).toBe("");
    expect(stderr).toContain(message);
    expect(stderr).toContain(hint);
    expect(stderr).toContain("[RK-USAGE]");
  });

  test("with --json as a document on standard output", async () => {
    const { exitCode, stdout, stderr } = await rekernel(["doctor", "paint", "--json"]);
    expect(exitCode).toBe(2);
    expect(stderr).toBe("");
    expect(JSON.parse(stdout)).toEqual({
      error: {
        code: "RK-USAGE",
        message: expect.stringContaining("paint"),
        hint: expect.stringContaining("rekernel doctor --help"),
        exitCode: 2,
      },
    });
  });
});

test("every command's help shows an example", async () => {
  const commands = await allCommands();
  const helps = await Promise.all(commands.map((words) => rekernel([...words, "--help"])));
  for (const { exitCode, stdout } of helps) {
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/Examples?:\n {2}(\S.*\s)?rekernel /);
    expect(stdout).toContain("--json");
    // A paragraph is wrapped once: no line ends long before the next word would not fit.
    const [text, shown] = stdout.split(/\nExamples?:\n/);
    for (const line of text!.split("\n")) expect(line.length, line).toBeLessThanOrEqual(80);
    expect(shown).toBeDefined();
    const paragraphs = text!
      .split(/\n(?:Arguments|Options|Commands):\n/)[0]!
      .split("\n\n")
      .slice(1);
    for (const lines of paragraphs.map((paragraph) => paragraph.trimEnd().split("\n")))
      for (const [index, line] of lines.slice(0, -1).entries())
        expect(`${line} ${lines[index + 1]!.split(" ")[0]}`.length, line).toBeGreaterThan(80);
  }
});

test("colours appear on no pipe", async () => {
  const { stderr } = await rekernel(["paint"]);
  expect(stderr).not.toContain("\u001b");
});

describe("on a terminal", () => {
  // script(1) gives the command a terminal of its own.
  const onTerminal = (command: string, noColor: string | undefined) =>
    run("script", ["-qec", command, "/dev/null"], {
      TERM: "xterm-256color",
      CI: undefined,
      FORCE_COLOR: undefined,
      NODE_DISABLE_COLORS: undefined,
      NO_COLOR: noColor,
    });
  const command = `${join(root, "bin/rekernel")} paint`;

  test("the error is coloured", async () => {
    const { stdout } = await onTerminal(command, undefined);
    expect(stdout).toContain("\u001b[31m");
  });

  test("long lines are broken between words, and in no pipe", async () => {
    const file = join(folder, "no".repeat(30));
    const line = `Cannot read the object ${file}: there is no such file.`;
    const diff = `${join(root, "bin/rekernel")} patch diff ${file} ${file}`;
    const { stdout } = await onTerminal(`stty columns 60; ${diff}`, "1");
    expect(stdout).not.toContain(line);
    expect(stdout.replaceAll(/\r?\n/g, " ")).toContain(line);
    expect((await run("sh", ["-c", diff])).stderr).toContain(line);
  });

  test("NO_COLOR takes the colours away", async () => {
    const { stdout } = await onTerminal(command, "1");
    expect(stdout).toContain("rekernel: Unknown command");
    expect(stdout).not.toContain("\u001b[31m");
  });
});

test("a reader that goes away is no error to talk about", async () => {
  const { stderr, stdout } = await run("bash", [
    "-c",
    `"${join(root, "bin/rekernel")}" --help | true; echo "\${PIPESTATUS[0]}"`,
  ]);
  expect(stderr).toBe("");
  expect(["0", "141"]).toContain(stdout.trim());
});
