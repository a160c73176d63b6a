import { execa, type Options } from "execa";
import debianPackages from "./debian-packages.json" with { type: "json" };
import { hasErrno, RekernelError } from "./errors.ts";

/** Debian package that provides a tool, for the hint of RK-TOOL-MISSING. */
const packageOfTool = new Map<string, string>([
  ["apt-get", "apt"],
  ["apt-cache", "apt"],
  ["cp", "coreutils"],
  ["dpkg-deb", "dpkg"],
  ["tar", "tar"],
  ...debianPackages.flatMap(({ name, tools = [] }) => tools.map((tool): [string, string] => [tool, name])),
]);

export interface ToolResult {
  exitCode: number;
  stdout: string;
  stderr: string;
}

/**
 * Runs an external program to its end and returns its output, whatever its exit code.
 * The child gets its own process group's signals through `signal`: aborted work leaves no child behind.
 *
 * @throws RekernelError RK-TOOL-MISSING (5) when the program does not exist
 */
export async function runTool(
  tool: string,
  args: readonly string[],
  options: {
    cwd?: string;
    env?: Record<string, string>;
    input?: string;
    signal?: AbortSignal | undefined;
  } = {},
): Promise<ToolResult> {
  const execaOptions: Options = {
    reject: false,
    stripFinalNewline: false,
    // Messages of tools are read by us and by users: the same words whatever the user's locale.
    env: { LC_ALL: "C.UTF-8", ...options.env },
    forceKillAfterDelay: 2000,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.input === undefined ? { stdin: "ignore" as const } : { input: options.input }),
    ...(options.signal === undefined ? {} : { cancelSignal: options.signal }),
  };
  const result = await execa(tool, [...args], execaOptions);
  options.signal?.throwIfAborted();
  if (result.exitCode === undefined) {
    const cause = result.cause;
    if (hasErrno(cause) && cause.code === "ENOENT") throw missingTool(tool);
    throw new RekernelError(
      "failed",
      "RK-TOOL-FAILED",
      `${tool} ended without an exit code: ${result.shortMessage ?? result.signal}.`,
    );
  }
  return { exitCode: result.exitCode, stdout: String(result.stdout), stderr: String(result.stderr) };
}

/**
 * Like {@link runTool}, but an exit code other than 0 is an error.
 *
 * @throws RekernelError RK-TOOL-FAILED (1) with the tool's last output as details
 */
export async function runToolOk(
  tool: string,
  args: readonly string[],
  options: Parameters<typeof runTool>[2] = {},
): Promise<ToolResult> {
  const result = await runTool(tool, args, options);
  if (result.exitCode !== 0) {
    const output = `${result.stderr}${result.stdout}`.trim().split("\n").slice(-30).join("\n");
    if (/No space left on device/.test(output))
      throw new RekernelError("failed", "RK-DISK-FULL", `${tool} ran out of disk space.`, {
        details: output,
      });
    throw new RekernelError(
      "failed",
      "RK-TOOL-FAILED",
      `${tool} ${args.slice(0, 3).join(" ")} failed with exit code ${result.exitCode}.`,
      {
        details: output,
      },
    );
  }
  return result;
}

function missingTool(tool: string): RekernelError {
  const name = packageOfTool.get(tool) ?? tool;
  return new RekernelError("machineCannot", "RK-TOOL-MISSING", `This machine has no ${tool}.`, {
    hint: `Install it: apt-get install ${name}`,
  });
}
