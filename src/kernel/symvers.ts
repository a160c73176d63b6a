import { parseSymvers, type SymversEntry } from "../formats/symvers.ts";
import { readInputFile } from "./input-file.ts";

/**
 * Reads a Module.symvers file: exported symbol -> CRC, exporting module, kind, namespace.
 *
 * @throws RekernelError RK-FILE, RK-BAD-SYMVERS (1), RK-PERMISSION (5)
 */
export async function readSymvers(path: string): Promise<Map<string, SymversEntry>> {
  return parseSymvers(Buffer.from(await readInputFile(path, "Module.symvers")).toString("utf8"), path);
}
