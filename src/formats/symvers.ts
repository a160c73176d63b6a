import { RekernelError } from "../core/errors.ts";

export interface SymversEntry {
  crc: number;
  /** "vmlinux", or a module's path below the build tree without its extension, as the file has it. */
  module: string;
  /** EXPORT_SYMBOL or EXPORT_SYMBOL_GPL. */
  exportType: string;
  /** "" for none. */
  namespace: string;
}

/**
 * Reads Module.symvers: one export a line, fields separated by tabs (Documentation/kbuild/modules.rst).
 *
 * @throws RekernelError RK-BAD-SYMVERS (1)
 */
export function parseSymvers(text: string, name = "Module.symvers"): Map<string, SymversEntry> {
  const entries = new Map<string, SymversEntry>();
  let lineNumber = 0;
  for (const line of text.split("\n")) {
    lineNumber++;
    if (line === "") continue;
    const [crc, symbol, module, exportType, namespace = ""] = line.split("\t");
    if (!crc || !symbol || !module || !exportType || !/^0x[0-9a-f]{1,8}$/i.test(crc))
      throw new RekernelError(
        "failed",
        "RK-BAD-SYMVERS",
        `${name} cannot be read: line ${lineNumber} is not "CRC, symbol, module, export type, namespace".`,
        { hint: "Give the Module.symvers of the kernel's build or of its headers package." },
      );
    entries.set(symbol, { crc: Number(crc), module, exportType, namespace });
  }
  return entries;
}
