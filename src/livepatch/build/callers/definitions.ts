/** Finds the C files that may define functions known only by their names in a symbol table. */
import type { WorkOptions } from "../../../core/progress.ts";
import { runClean } from "../kbuild.ts";

/** Suffixes of compilers' copies and parts of a function. */
const variant = /\.(isra|constprop|part|cold|llvm|localalias)(\.\d+)*(?=\.|$)/g;
/** What SYSCALL_DEFINEx makes of a name (include/linux/syscalls.h, arch/x86/include/asm/syscall_wrapper.h). */
const systemCall = /^__(?:do|se|x64|ia32)_(?:compat_)?sys_(\w+)$/;

/** The function's name in the source: `foo.isra.0.cold` -> `foo`. */
export function sourceName(symbol: string): string {
  return symbol.replace(variant, "");
}

/**
 * A grep -E pattern for lines that may begin the definition of one of these functions: from the first column on, and
 * not a declaration. Kernel style keeps calls away from the first column.
 */
export function definitionPattern(symbols: readonly string[]): string {
  const names = new Set<string>();
  const calls = new Set<string>();
  for (const symbol of symbols) {
    const name = sourceName(symbol);
    const call = systemCall.exec(name)?.[1];
    if (call !== undefined) calls.add(call);
    if (/^\w+$/.test(name)) names.add(name);
  }
  const alternatives: string[] = [];
  if (names.size > 0)
    alternatives.push(
      `^([A-Za-z_][^;=]*[^A-Za-z0-9_])?(${[...names].join("|")})[[:space:]]*\\([^;]*(\\{.*)?$`,
    );
  if (calls.size > 0)
    alternatives.push(
      `^(COMPAT_)?SYSCALL(32)?_DEFINE[0-6][[:space:]]*\\([[:space:]]*(${[...calls].join("|")})[[:space:]]*[,)]`,
    );
  return alternatives.join("|");
}

/**
 * Paths below `root` of the C files that have a definition of one of these functions, in no order of merit.
 *
 * @param folders below `root`; those that are not there are passed over
 */
export async function filesDefining(
  root: string,
  folders: readonly string[],
  symbols: readonly string[],
  options: WorkOptions = {},
): Promise<string[]> {
  const pattern = definitionPattern(symbols);
  if (pattern === "") return [];
  const { stdout } = await runClean(["grep", "-rlsE", "--include=*.c", "-e", pattern, "--", ...folders], {
    cwd: root,
    signal: options.signal,
  });
  return stdout
    .split("\n")
    .filter((path) => path !== "")
    .sort();
}
