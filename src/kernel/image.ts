/** One kernel image: what vmlinuz or vmlinux tells without debug information or System.map. */
import { RekernelError } from "../core/errors.ts";
import { Btf } from "../formats/btf.ts";
import { cString, latin1 } from "../formats/bytes.ts";
import { type BzImage, badImage, isBzImage, readBzImage, unpackPayload } from "../formats/bzimage.ts";
import { ET_DYN, ET_EXEC, PT_LOAD } from "../formats/elf/constants.ts";
import { type ElfFile, readElf } from "../formats/elf/read.ts";
import { findKallsyms, type Kallsyms } from "../formats/kallsyms.ts";
import { type ExportedSymbol, readImageExports } from "../formats/ksymtab.ts";
import { buildIdIn } from "../formats/notes.ts";
import type { UnifiedKernelImage } from "../formats/uki.ts";
import { isElf, requireX86 } from "./architecture.ts";
import { readInputFile } from "./input-file.ts";
import { unwrapKernel } from "./unwrap.ts";

/** A line of /proc/kallsyms. */
export interface KernelSymbol {
  name: string;
  /** As linked; per-CPU symbols of kernels before 6.15 have their offset in the per-CPU area. */
  address: bigint;
  /** The letter that /proc/kallsyms prints: as nm(1), upper case for global symbols. */
  type: string;
}

/** What a kernel is able to do, as far as its image shows. */
export interface KernelFeatures {
  livepatch: boolean;
  /** kexec_load(2) */
  kexec: boolean;
  /** kexec_file_load(2) */
  kexecFile: boolean;
  /** /proc/vmcore: can serve as a capture kernel. */
  crashDump: boolean;
  modversions: boolean;
  moduleSignatures: boolean;
  ftrace: boolean;
  kprobes: boolean;
  kaslr: boolean;
  /** Indirect branch tracking: functions begin with ENDBR. */
  ibt: boolean;
  btf: boolean;
  orc: boolean;
  lockdown: boolean;
}

const bannerStart = "Linux version ";
/** init/version.c: UTS_RELEASE (compile by@host) (compiler, linker) UTS_VERSION */
const bannerPattern = /^Linux version (\S+) \((.*?)\) \((.*)\) (#.*)$/;

export class KernelImage {
  readonly name: string;
  /** Size of the file that was opened. */
  readonly fileSize: number;
  /** The unified kernel image that the kernel was taken out of. */
  readonly uki: UnifiedKernelImage | undefined;
  /** The boot container, when the file is a vmlinuz or a unified kernel image. */
  readonly bzImage: BzImage | undefined;
  /** The vmlinux inside. */
  readonly elf: ElfFile;
  /** Size of vmlinux and of what follows it, unpacked. */
  readonly vmlinuxSize: number;
  /** linux_banner, without its newline: what /proc/version shows. */
  readonly banner: string;
  /** As `uname -r` prints it. */
  readonly release: string;
  /** As `uname -v` prints it. */
  readonly version: string;
  /** Compiler and linker that built it, as the banner names them: "gcc-12 (Debian 12.2.0-14) 12.2.0". */
  readonly compiler: string;
  readonly linker: string;

  #kallsyms: Kallsyms | undefined;
  #symbols: readonly KernelSymbol[] | undefined;
  #byName: Map<string, KernelSymbol | KernelSymbol[]> | undefined;
  #btf: Btf | undefined;
  #exports: ReadonlyMap<string, ExportedSymbol> | undefined;

  /**
   * Opens a vmlinuz (bzImage), a vmlinux (ELF) or a unified kernel image; packed as a whole is fine, too.
   *
   * @throws RekernelError RK-FILE, RK-BAD-IMAGE, RK-BAD-ELF, RK-BAD-COMPRESSION, RK-UNSUPPORTED-COMPRESSION (1),
   *   RK-PERMISSION (5)
   */
  static async open(path: string): Promise<KernelImage> {
    return KernelImage.fromBytes(await readInputFile(path, "kernel image"), path);
  }

  /** The same for a file's contents. `name` is for messages. */
  static fromBytes(bytes: Uint8Array, name: string): KernelImage {
    return new KernelImage(bytes, name);
  }

  private constructor(bytes: Uint8Array, name: string) {
    this.name = name;
    this.fileSize = bytes.length;
    const file = unwrapKernel(bytes, name);
    this.uki = file.uki;
    let vmlinux = file.kernel;
    if (isBzImage(vmlinux)) {
      this.bzImage = readBzImage(vmlinux, name);
      const { protocol, xloadflags } = this.bzImage.header;
      if (protocol >= 0x020c && !xloadflags.kernel64)
        throw badImage(name, "it is a 32-bit kernel, and rekernel works with x86-64 kernels");
      vmlinux = unpackPayload(this.bzImage, name);
    } else if (!isElf(vmlinux)) throw badImage(name, "it is neither a bzImage nor an ELF file");
    this.vmlinuxSize = vmlinux.length;
    const elfName = this.bzImage ? `The vmlinux in ${name}` : name;
    requireX86(vmlinux, name, "64");
    this.elf = readElf(vmlinux, elfName);
    if (this.elf.header.type !== ET_EXEC && this.elf.header.type !== ET_DYN)
      throw badImage(name, "it is an object file or a module, not a linked kernel");

    this.banner = this.#findBanner();
    const [, release = "", , tools = "", version = ""] = bannerPattern.exec(this.banner) ?? [];
    this.release = release;
    this.version = version;
    const linkerAt = tools.search(/, (?:GNU ld|GNU gold|LLD|ld\.lld|mold)\b/);
    this.compiler = linkerAt < 0 ? tools : tools.slice(0, linkerAt);
    this.linker = linkerAt < 0 ? "" : tools.slice(linkerAt + 2);
  }

  /**
   * Every symbol, in the kernel's order: ascending addresses.
   *
   * @throws RekernelError RK-NO-KALLSYMS (1)
   */
  get symbols(): readonly KernelSymbol[] {
    if (!this.#symbols) {
      const kallsyms = this.#tables();
      const symbols = new Array<KernelSymbol>(kallsyms.length);
      for (let index = 0; index < symbols.length; index++) symbols[index] = kallsyms.entry(index);
      this.#symbols = symbols;
    }
    return this.#symbols;
  }

  /**
   * Symbols of one name, ascending by address. Where there are several, the place in this list plus 1 is
   * livepatch's sympos (klp_find_object_symbol counts in this order).
   */
  symbolsNamed(name: string): readonly KernelSymbol[] {
    if (!this.#byName) {
      this.#byName = new Map();
      for (const symbol of this.symbols) {
        const known = this.#byName.get(symbol.name);
        if (!known) this.#byName.set(symbol.name, symbol);
        else if (Array.isArray(known)) known.push(symbol);
        else this.#byName.set(symbol.name, [known, symbol]);
      }
    }
    const found = this.#byName.get(name);
    return found === undefined ? [] : Array.isArray(found) ? found : [found];
  }

  /** Symbols at exactly this address, in the kernel's order. */
  symbolsAt(address: bigint): readonly KernelSymbol[] {
    const { addresses } = this.#tables();
    const found: KernelSymbol[] = [];
    for (let index = firstNotBelow(addresses, address); addresses[index] === address; index++)
      found.push(this.symbols[index]!);
    return found;
  }

  /**
   * The symbol at or before an address, and the distance from it; of several at the same place the first, as
   * kallsyms_lookup() chooses. Undefined outside the image.
   */
  symbolContaining(address: bigint): { symbol: KernelSymbol; offset: number } | undefined {
    if (!this.#loadedAt(address)) return undefined;
    const { addresses } = this.#tables();
    let index = firstNotBelow(addresses, address);
    if (addresses[index] !== address) {
      if (index === 0) return undefined;
      index = firstNotBelow(addresses, addresses[index - 1]!);
    }
    const symbol = this.symbols[index]!;
    if (!this.#loadedAt(symbol.address)) return undefined;
    return { symbol, offset: Number(address - symbol.address) };
  }

  /**
   * Bytes at a link-time address: a view of the file, or undefined when any of them is not backed by it
   * (.bss, or outside the image). Per-CPU initial values are at their small addresses.
   */
  read(address: bigint, size: number): Uint8Array | undefined {
    const rest = this.#fileBytesFrom(address);
    return rest && size >= 0 && size <= rest.length ? rest.subarray(0, size) : undefined;
  }

  /** Exported symbols, with their CRCs where the kernel has modversions. */
  get exports(): ReadonlyMap<string, ExportedSymbol> {
    this.#exports ??= readImageExports(
      this.elf,
      (address) => {
        const bytes = this.#fileBytesFrom(address);
        return bytes && cString(bytes.subarray(0, 1024), 0);
      },
      (address) => {
        const bytes = this.read(address, 4);
        return bytes && new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
      },
      isOlderThan(this.release, 5, 19),
    );
    return this.#exports;
  }

  /**
   * The kernel's own types; undefined where it was built without CONFIG_DEBUG_INFO_BTF.
   *
   * @throws RekernelError RK-BAD-BTF (1)
   */
  get btf(): Btf | undefined {
    const section = this.elf.section(".BTF");
    if (!this.#btf && section && section.size > 0) this.#btf = new Btf(section.data, this.name);
    return this.#btf;
  }

  /** The GNU build id, in hexadecimal; what /sys/kernel/notes of the running kernel carries. */
  get buildId(): string | undefined {
    const notes = this.elf.section(".notes");
    return notes && buildIdIn(notes.data);
  }

  get features(): KernelFeatures {
    const has = (...names: string[]) => names.some((name) => this.symbolsNamed(name).length > 0);
    const hasSection = (name: string) => (this.elf.section(name)?.size ?? 0) > 0;
    return {
      livepatch: has("klp_enable_patch"),
      kexec: has("__x64_sys_kexec_load"),
      kexecFile: has("__x64_sys_kexec_file_load"),
      crashDump: has("vmcore_init", "read_from_oldmem"),
      modversions: hasSection("__kcrctab"),
      moduleSignatures: has("module_sig_check", "mod_verify_sig"),
      ftrace: has("ftrace_caller"),
      kprobes: has("register_kprobe"),
      kaslr: has("kernel_randomize_memory"),
      ibt: hasSection(".ibt_endbr_seal"),
      btf: hasSection(".BTF"),
      orc: hasSection(".orc_unwind"),
      lockdown: has("lockdown_is_locked_down"),
    };
  }

  #tables(): Kallsyms {
    if (this.#kallsyms) return this.#kallsyms;
    const rodata = this.elf.section(".rodata");
    if (rodata) this.#kallsyms = findKallsyms(rodata.data, rodata.address);
    for (const segment of this.elf.segments) {
      if (this.#kallsyms) break;
      const bytes = segment.type === PT_LOAD && this.#fileBytesFrom(segment.virtualAddress);
      if (bytes) this.#kallsyms = findKallsyms(bytes, segment.virtualAddress);
    }
    if (!this.#kallsyms)
      throw new RekernelError("failed", "RK-NO-KALLSYMS", `${this.name} has no readable symbol table.`, {
        hint: "rekernel reads a kernel's symbols from its kallsyms tables: it needs a kernel built with CONFIG_KALLSYMS, and an undamaged image.",
      });
    return this.#kallsyms;
  }

  #loadedAt(address: bigint): boolean {
    return this.elf.segments.some(
      ({ type, virtualAddress, memorySize }) =>
        type === PT_LOAD && address >= virtualAddress && address < virtualAddress + BigInt(memorySize),
    );
  }

  #fileBytesFrom(address: bigint): Uint8Array | undefined {
    for (const { type, virtualAddress, fileSize, offset } of this.elf.segments) {
      if (type !== PT_LOAD || address < virtualAddress || address >= virtualAddress + BigInt(fileSize))
        continue;
      return this.elf.bytes.subarray(offset + Number(address - virtualAddress), offset + fileSize);
    }
    return undefined;
  }

  /**
   * The image has two: a weak one without a build number from before the final link (init/version.c), and the
   * real one, whose version begins with a number.
   */
  #findBanner(): string {
    const rodata = this.elf.section(".rodata")?.data ?? this.elf.bytes;
    const buffer = Buffer.from(rodata.buffer, rodata.byteOffset, rodata.byteLength);
    let best = "";
    for (let at = buffer.indexOf(bannerStart); at >= 0; at = buffer.indexOf(bannerStart, at + 1)) {
      const text = latin1(buffer.subarray(at, at + 1024)).split(/[\0\n]/, 1)[0]!;
      const version = bannerPattern.exec(text)?.[4];
      if (version === undefined) continue;
      if (best === "" || /^#\S/.test(version)) best = text;
    }
    if (best === "") throw badImage(this.name, "it carries no linux_banner, so it is not a Linux kernel");
    return best;
  }
}

function firstNotBelow(addresses: BigUint64Array, address: bigint): number {
  let low = 0;
  let high = addresses.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (addresses[middle]! < address) low = middle + 1;
    else high = middle;
  }
  return low;
}

function isOlderThan(release: string, major: number, minor: number): boolean {
  const [ownMajor = 0, ownMinor = 0] = release.split(/[.-]/).map(Number);
  return ownMajor < major || (ownMajor === major && ownMinor < minor);
}
