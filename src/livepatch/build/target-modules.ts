import { KernelModuleFile } from "../../kernel/module.ts";
import { findModule } from "../../kernel/modules-folder.ts";
import type { TargetKernel } from "../../kernel/target.ts";
import type { TargetCode } from "./match.ts";
import { moduleCode } from "./target-code.ts";

/** The target's modules that a patch needs, each opened once. */
export class TargetModules {
  readonly #target: TargetKernel;
  readonly #files = new Map<string, KernelModuleFile>();
  readonly #code = new Map<string, TargetCode>();

  constructor(target: TargetKernel) {
    this.#target = target;
  }

  /**
   * Opens a module, and what it depends on: its functions may come to need what those export.
   *
   * @returns undefined when the target's modules are not at hand, or have none of that name
   * @throws RekernelError RK-BAD-MODULE, RK-FILE (1)
   */
  async open(name: string): Promise<KernelModuleFile | undefined> {
    const known = this.#files.get(name);
    if (known || this.#target.modules === undefined) return known;
    const path = await findModule(this.#target.modules, name);
    if (path === undefined) return undefined;
    const file = await KernelModuleFile.open(path);
    this.#files.set(name, file);
    this.#code.set(name, moduleCode(file.elf, name));
    for (const dependency of file.dependencies) await this.open(dependency);
    return file;
  }

  /** The code of a module that has been opened. */
  get(name: string): TargetCode | undefined {
    return this.#code.get(name);
  }
}
