import { spawn } from "node:child_process";
import { join } from "node:path";

/** The checkout that the tests run in. */
export const root = join(import.meta.dirname, "../../..");

export interface CommandResult {
  exitCode: number | null;
  stdout: string;
  stderr: string;
}

/** Runs bin/rekernel as a user's shell in a pipe would; `undefined` takes a variable out of the environment. */
export function rekernel(
  args: readonly string[],
  env: Record<string, string | undefined> = {},
): Promise<CommandResult> {
  return run(join(root, "bin/rekernel"), args, env);
}

export function run(
  program: string,
  args: readonly string[],
  env: Record<string, string | undefined> = {},
): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (data) => (stdout += data));
    child.stderr.on("data", (data) => (stderr += data));
    child.on("error", reject);
    child.on("close", (exitCode) => resolve({ exitCode, stdout, stderr }));
  });
}

/** The words of every runnable command, read from the help as a user would. */
export async function allCommands(group: readonly string[] = []): Promise<string[][]> {
  const { stdout } = await rekernel([...group, "--help"]);
  const section = /\nCommands:\n((?: {2}.*\n?)+)/.exec(stdout)?.[1];
  if (section === undefined) return [[...group]];
  const names = [...section.matchAll(/^ {2}(\w[\w-]*)/gm)].map(([, name]) => name!);
  const below = (await Promise.all(names.map((name) => allCommands([...group, name])))).flat();
  // A group that prints a document is a command itself.
  return stdout.includes("--json  ") ? [[...group], ...below] : below;
}
