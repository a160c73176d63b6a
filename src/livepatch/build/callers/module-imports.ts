/** Which of a kernel's modules import a symbol. Asked only for exported functions that ftrace cannot hook. */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomic } from "../../../core/files.ts";
import { withLock } from "../../../core/lock.ts";
import { runStep, type WorkOptions } from "../../../core/progress.ts";
import { SHN_UNDEF } from "../../../formats/elf/constants.ts";
import { KernelModuleFile } from "../../../kernel/module.ts";
import { listedModules, moduleFile } from "../../../kernel/modules-folder.ts";

/**
 * Reading all modules takes half a minute where they are compressed: what they import is kept beside the trees.
 *
 * @param folder lib/modules/RELEASE
 * @param store a folder of the cache that belongs to this kernel
 * @returns names of modules, with underscores, by symbol
 * @throws RekernelError RK-MODULES-FOLDER, RK-BAD-MODULE, RK-BAD-ELF (1)
 */
export async function modulesImporting(
  folder: string,
  store: string,
  symbols: readonly string[],
  options: WorkOptions = {},
): Promise<Map<string, string[]>> {
  const sought = new Set(symbols);
  const importers = new Map<string, string[]>(symbols.map((symbol) => [symbol, []]));
  for (const line of (await importIndex(folder, store, options)).split("\n")) {
    const [module = "", ...imported] = line.split(" ");
    for (const symbol of imported) if (sought.has(symbol)) importers.get(symbol)!.push(module);
  }
  return importers;
}

/** A line for each module: its name, and the symbols that it imports. */
async function importIndex(folder: string, store: string, options: WorkOptions): Promise<string> {
  const listed = await listedModules(folder, "modules.order");
  const identity = createHash("sha256")
    .update(`${folder}\n${[...listed.values()].join("\n")}`)
    .digest("hex");
  const kept = join(store, `imports-${identity.slice(0, 12)}`);
  const known = await readFile(kept, "utf8").catch(() => undefined);
  if (known !== undefined) return known;
  return runStep(options, "imports", "Index what the modules import", (update) =>
    withLock(`${kept}.lock`, { signal: options.signal }, async () => {
      const lines: string[] = [];
      let count = 0;
      for (const [name, path] of listed) {
        options.signal?.throwIfAborted();
        update(name, count++ / listed.size);
        const file = await moduleFile(join(folder, path));
        if (file === undefined) continue;
        const { elf } = await KernelModuleFile.open(file);
        const imported = elf.symbols.filter(
          ({ shndx, name: symbol }) => shndx === SHN_UNDEF && symbol !== "",
        );
        lines.push([name, ...imported.map((symbol) => symbol.name)].join(" "));
      }
      const text = lines.join("\n");
      await writeFileAtomic(kept, text);
      return text;
    }),
  );
}
