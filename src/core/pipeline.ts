import { execa, type Options } from "execa";
import { hasErrno, RekernelError } from "./errors.ts";

/**
 * Runs `producer | consumer` to the end of both. Unlike a shell's pipeline it is stopped as a whole by `signal`.
 *
 * @throws RekernelError RK-TOOL-MISSING (5), RK-DISK-FULL (1), RK-TOOL-FAILED (1)
 */
export async function runPipeline(
  producer: readonly string[],
  consumer: readonly string[],
  options: { signal?: AbortSignal | undefined } = {},
): Promise<void> {
  const common: Options = {
    reject: false,
    env: { LC_ALL: "C.UTF-8" },
    forceKillAfterDelay: 2000,
    ...(options.signal === undefined ? {} : { cancelSignal: options.signal }),
  };
  const first = execa(producer[0]!, producer.slice(1), {
    ...common,
    stdin: "ignore",
    buffer: { stdout: false },
  });
  const second = execa(consumer[0]!, consumer.slice(1), { ...common, stdout: "ignore" });
  // "as never": with exactOptionalPropertyTypes execa's own result type does not fit its parameter type.
  const [, from, to] = await Promise.all([
    first.pipe(second as never).then(
      () => undefined,
      () => undefined,
    ),
    first,
    second,
  ]);
  options.signal?.throwIfAborted();
  // The consumer first: when it fails, the producer only loses its reader.
  for (const [result, command] of [
    [to, consumer],
    [from, producer],
  ] as const) {
    if (result.exitCode === 0) continue;
    if (result.exitCode === undefined && hasErrno(result.cause) && result.cause.code === "ENOENT")
      throw new RekernelError("machineCannot", "RK-TOOL-MISSING", `This machine has no ${command[0]}.`);
    const details = String(result.stderr ?? "")
      .trim()
      .split("\n")
      .slice(-10)
      .join("\n");
    if (/No space left on device/.test(details))
      throw new RekernelError("failed", "RK-DISK-FULL", `${command[0]} ran out of disk space.`, {
        details,
        hint: "Free some space, or point XDG_CACHE_HOME at a larger file system.",
      });
    throw new RekernelError(
      "failed",
      "RK-TOOL-FAILED",
      `${command.slice(0, 3).join(" ")} failed with exit code ${result.exitCode ?? result.signal}.`,
      { details },
    );
  }
}
