/** The modules of the target that a build has to do with. */
import type { KernelModuleFile } from "../../../kernel/module.ts";
import type { ModuleFiles } from "../../../kernel/module-files.ts";
import type { ExportedSymbol } from "../module/resolve.ts";
import type { TargetCode } from "./match.ts";
import { moduleCode } from "./target-code.ts";

/** The target's modules that a patch needs, each opened once. */
export class TargetModules {
  readonly #files: ModuleFiles;
  readonly #opened = new Map<string, KernelModuleFile>();
  readonly #code = new Map<string, TargetCode>();

  constructor(files: ModuleFiles) {
    this.#files = files;
  }

  /**
   * Opens a module, and what it depends on: its functions may come to need what those export.
   *
   * @returns undefined when the target's modules are not at hand, or have none of that name
   * @throws RekernelError RK-BAD-MODULE, RK-FILE (1), RK-MODULE-TARGET, RK-MODULE-AMBIGUOUS (4)
   */
  async open(name: string): Promise<KernelModuleFile | undefined> {
    const known = this.#opened.get(name);
    if (known) return known;
    const file = await this.#files.find(name);
    if (!file) return undefined;
    this.#opened.set(name, file);
    this.#code.set(name, moduleCode(file.elf, name));
    for (const dependency of file.dependencies) await this.open(dependency);
    return file;
  }

  /** The code of a module that has been opened. */
  get(name: string): TargetCode | undefined {
    return this.#code.get(name);
  }

  /** What the opened modules export: Module.symvers of a kernel lists its own modules alone. */
  exports(): Map<string, ExportedSymbol> {
    const exports = new Map<string, ExportedSymbol>();
    for (const [module, file] of this.#opened)
      for (const [name, { crc, namespace }] of file.exports)
        exports.set(name, { module, crc: crc ?? 0, namespace });
    return exports;
  }

  /** The files of all that were opened. */
  paths(): string[] {
    return [...this.#opened.values()].map(({ path }) => path);
  }

  /** Those opened that are not the kernel's own. */
  foreign(): { name: string; path: string }[] {
    return [...this.#opened]
      .filter(([, { path }]) => !this.#files.isOwn(path))
      .map(([name, { path }]) => ({ name, path }));
  }

  /** Whether one module is always loaded when another is: it depends on it, directly or through others. */
  needs(module: string, other: string): boolean {
    const visited = new Set([module]);
    for (const name of visited)
      for (const dependency of this.#opened.get(name)?.dependencies ?? []) visited.add(dependency);
    return visited.has(other);
  }

  /**
   * A module as it is shipped, against which vermagic and the layout of struct module are checked: one of those
   * opened, or any other.
   */
  async stock(): Promise<KernelModuleFile | undefined> {
    const [first] = this.#opened.values();
    return (
      first ??
      (await this.#files.find("failover")) ??
      (await this.#files.find("loop")) ??
      (await this.#files.find("dummy"))
    );
  }
}
