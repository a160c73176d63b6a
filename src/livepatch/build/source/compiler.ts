import { RekernelError } from "../../../core/errors.ts";
import type { WorkOptions } from "../../../core/progress.ts";
import { runTool } from "../../../core/tools.ts";

/**
 * The compiler that built a kernel, by its CONFIG_CC_VERSION_TEXT
 * (`x86_64-linux-gnu-gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0`): the command's name.
 * Only the very same version is taken: another one makes other code out of the same source.
 *
 * @throws RekernelError RK-COMPILER-MISMATCH (4), RK-TOOL-MISSING (5), RK-TARGET-FILE (2)
 */
export async function targetCompiler(configText: string, options: WorkOptions): Promise<string> {
  const wanted = /^CONFIG_CC_VERSION_TEXT="(.+)"$/m.exec(configText)?.[1];
  const command = wanted?.split(" ")[0];
  if (wanted === undefined || command === undefined)
    throw new RekernelError("usage", "RK-TARGET-FILE", "The kernel's configuration names no compiler.", {
      hint: "Give the configuration that the kernel was built with: it has a line CONFIG_CC_VERSION_TEXT=….",
    });
  if (!/^CONFIG_CC_IS_GCC=y$/m.test(configText) || !/^[\w.+-]*gcc[\w.+-]*$/.test(command))
    throw new RekernelError(
      "refused",
      "RK-COMPILER-MISMATCH",
      `The target kernel was built by “${wanted}”; rekernel builds with gcc only.`,
    );
  const hint = `Install it: apt-get install ${aptPackage(command)}`;
  let here: string;
  try {
    here = (await runTool(command, ["--version"], { signal: options.signal })).stdout.split("\n")[0]!.trim();
  } catch (error) {
    if (!(error instanceof RekernelError && error.code === "RK-TOOL-MISSING")) throw error;
    throw new RekernelError(
      "machineCannot",
      "RK-TOOL-MISSING",
      `This machine has no ${command}, which the target kernel was built with.`,
      { hint },
    );
  }
  // The kernel's own Makefile drops '#' from the text, see CC_VERSION_TEXT there.
  if (here.replaceAll("#", "") === wanted) return command;
  throw new RekernelError(
    "refused",
    "RK-COMPILER-MISMATCH",
    `The target kernel was built by “${wanted}”, and this machine's ${command} is “${here}”.`,
    {
      hint: `Build where exactly that compiler is installed, for example in a container of the target's release. ${hint}`,
    },
  );
}

/** Debian's package of a compiler command: `x86_64-linux-gnu-gcc-12` is in gcc-12. */
function aptPackage(command: string): string {
  return /gcc(?:-[\d.]+)?$/.exec(command)?.[0] ?? "gcc";
}
