/** Finds the C files that may define functions known only by their names in a symbol table. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { WorkOptions } from "../../../core/progress.ts";
import { runClean } from "../source/kbuild.ts";

/** Suffixes of compilers' copies and parts of a function. */
const variant = /\.(isra|constprop|part|cold|llvm|localalias)(\.\d+)*(?=\.|$)/g;
/** What SYSCALL_DEFINEx makes of a name (include/linux/syscalls.h, arch/x86/include/asm/syscall_wrapper.h). */
const systemCall = /^__(?:do|se|x64|ia32)_(?:compat_)?sys_(\w+)$/;

/** The function's name in the source: `foo.isra.0.cold` -> `foo`. */
export function sourceName(symbol: string): string {
  return symbol.replace(variant, "");
}

/**
 * Paths below `root` of the C files that have a definition of one of these functions, sorted.
 *
 * @param folders below `root`; those that are not there are passed over
 */
export async function filesDefining(
  root: string,
  folders: readonly string[],
  symbols: readonly string[],
  options: WorkOptions = {},
): Promise<string[]> {
  const names = [...new Set(symbols.map(sourceName))].filter((name) => /^\w+$/.test(name));
  const calls = names.flatMap((name) => systemCall.exec(name)?.[1] ?? []);
  const search = async (how: readonly string[]): Promise<string[]> => {
    const { stdout } = await runClean(["grep", "-rls", "--include=*.c", ...how, "--", ...folders], {
      cwd: root,
      signal: options.signal,
    });
    return stdout.split("\n").filter((path) => path !== "");
  };
  const found = new Set<string>();
  if (names.length > 0) {
    // Words first: looking for definitions in the whole source takes four times as long.
    const definition = definitionPattern(names);
    for (const path of await search(["-wF", ...names.flatMap((name) => ["-e", name])]))
      if (definition.test(await readFile(join(root, path), "latin1"))) found.add(path);
  }
  if (calls.length > 0)
    for (const path of await search([
      "-E",
      "-e",
      `^(COMPAT_)?SYSCALL(32)?_DEFINE[0-6][[:blank:]]*\\([[:blank:]]*(${calls.join("|")})[[:blank:]]*[,)]`,
    ]))
      found.add(path);
  return [...found].sort();
}

/**
 * Lines that may begin the definition of one of these functions: from the first column on, and not a declaration.
 * Kernel style keeps calls away from the first column.
 */
function definitionPattern(names: readonly string[]): RegExp {
  return new RegExp(`^(?:[A-Za-z_][^;=\\n]*\\W)?(?:${names.join("|")})[ \\t]*\\([^;\\n]*(?:\\{.*)?$`, "m");
}
