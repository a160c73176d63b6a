/** One kernel module as a file: .ko, or .ko packed with xz, zstd or gzip. */
import { basename } from "node:path";
import { RekernelError } from "../core/errors.ts";
import { decompress } from "../formats/compression.ts";
import { EM_X86_64, ET_REL } from "../formats/elf/constants.ts";
import { type ElfFile, type ElfSymbol, readElf } from "../formats/elf/read.ts";
import { type ExportedSymbol, readModuleExports } from "../formats/ksymtab.ts";
import { type ModuleInfo, parseModinfo } from "../formats/modinfo.ts";
import { moduleSymbolType } from "../formats/module-symbols.ts";
import { readModversions } from "../formats/modversions.ts";
import { buildIdIn } from "../formats/notes.ts";
import type { KernelSymbol } from "./image.ts";
import { readInputFile } from "./input-file.ts";

export class KernelModuleFile {
  readonly path: string;
  readonly elf: ElfFile;
  /** As the kernel calls it: with underscores. */
  readonly name: string;
  /** Everything in .modinfo; most keys have one value, `alias`, `parm` and `import_ns` many. */
  readonly modinfo: ModuleInfo;
  /** Release and options of the kernel it was built for: "6.12.117+deb12-amd64 SMP preempt mod_unload modversions ". */
  readonly vermagic: string;
  /** Names of the modules that it needs, with underscores. */
  readonly dependencies: readonly string[];
  #versions: ReadonlyMap<string, number> | undefined;
  #exports: ReadonlyMap<string, ExportedSymbol> | undefined;
  #byName: Map<string, ElfSymbol[]> | undefined;

  /**
   * @throws RekernelError RK-FILE, RK-BAD-MODULE, RK-BAD-ELF, RK-BAD-COMPRESSION, RK-UNSUPPORTED-COMPRESSION (1),
   *   RK-PERMISSION (5)
   */
  static async open(path: string): Promise<KernelModuleFile> {
    return KernelModuleFile.fromBytes(await readInputFile(path, "kernel module"), path);
  }

  /** The same for a file's contents. `path` names the file in messages, and the module if .modinfo does not. */
  static fromBytes(bytes: Uint8Array, path: string): KernelModuleFile {
    return new KernelModuleFile(readElf(decompress(bytes, { name: path }), path), path);
  }

  private constructor(elf: ElfFile, path: string) {
    const bad = (reason: string) =>
      new RekernelError("failed", "RK-BAD-MODULE", `${path} is not a kernel module for x86-64: ${reason}.`, {
        hint: "Give a module file: name.ko, name.ko.xz, name.ko.zst or name.ko.gz.",
      });
    this.path = path;
    this.elf = elf;
    if (elf.header.machine !== EM_X86_64) throw bad("it is for another architecture");
    if (elf.header.type !== ET_REL) throw bad("it is linked already");
    const section = elf.section(".modinfo");
    if (!section) throw bad("it has no .modinfo section");
    this.modinfo = parseModinfo(section.data);
    this.vermagic = this.modinfo.get("vermagic")?.[0] ?? "";
    const name = this.modinfo.get("name")?.[0] ?? basename(path).replace(/\.ko(\.\w+)?$/, "");
    this.name = name.replaceAll("-", "_");
    this.dependencies = (this.modinfo.get("depends")?.[0] ?? "")
      .split(",")
      .filter((dependency) => dependency !== "")
      .map((dependency) => dependency.replaceAll("-", "_"));
  }

  /** Imported symbol -> CRC that it was built against. Empty without modversions. */
  get versions(): ReadonlyMap<string, number> {
    this.#versions ??= readModversions(this.elf);
    return this.#versions;
  }

  /** Symbols that it exports; addresses are offsets in their sections. */
  get exports(): ReadonlyMap<string, ExportedSymbol> {
    this.#exports ??= readModuleExports(this.elf);
    return this.#exports;
  }

  /** What /proc/kallsyms would list of it, with offsets in sections for addresses. */
  get symbols(): readonly KernelSymbol[] {
    return this.elf.symbols.flatMap((symbol) => {
      const type = moduleSymbolType(this.elf, symbol, this.exports.has(symbol.name));
      return type === undefined ? [] : [{ name: symbol.name, address: symbol.value, type }];
    });
  }

  /** The GNU build id, in hexadecimal. */
  get buildId(): string | undefined {
    const notes = this.elf.section(".note.gnu.build-id");
    return notes && buildIdIn(notes.data);
  }

  /**
   * Symbols of one name, in the order of .symtab, undefined ones included. Where there are several defined
   * ones, their place plus 1 is livepatch's sympos (module_kallsyms_on_each_symbol counts in this order).
   */
  symbolsNamed(name: string): readonly ElfSymbol[] {
    if (!this.#byName) {
      this.#byName = new Map();
      for (const symbol of this.elf.symbols) {
        const known = this.#byName.get(symbol.name);
        if (known) known.push(symbol);
        else this.#byName.set(symbol.name, [symbol]);
      }
    }
    return this.#byName.get(name) ?? [];
  }
}
