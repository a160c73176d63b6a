/**
 * CRCs of the symbols that a module imports (CONFIG_MODVERSIONS).
 *
 * Source: include/linux/module.h (struct modversion_info), kernel/module/version.c, scripts/mod/modpost.c.
 */
import { RekernelError } from "../core/errors.ts";
import { ByteReader, cString, latin1 } from "./bytes.ts";
import type { ElfFile } from "./elf/read.ts";

const entrySize = 64;

/**
 * Imported symbol -> CRC. Reads __versions (8 bytes of CRC, 56 of name) and, where there is one, the form for
 * long names of 6.13 and later: __version_ext_crcs and __version_ext_names. Empty without modversions.
 *
 * @throws RekernelError RK-BAD-MODULE (1)
 */
export function readModversions(elf: ElfFile): Map<string, number> {
  const bad = (reason: string) =>
    new RekernelError("failed", "RK-BAD-MODULE", `${elf.name} cannot be read: ${reason}.`);
  const versions = new Map<string, number>();
  const basic = elf.section("__versions");
  if (basic) {
    if (basic.data.length % entrySize !== 0) throw bad("its __versions section has an odd size");
    const r = new ByteReader(basic.data, bad);
    for (let at = 0; at < r.length; at += entrySize) {
      const name = cString(basic.data.subarray(at + 8, at + entrySize), 0);
      if (name !== "") versions.set(name, r.u32(at));
    }
  }
  const crcs = elf.section("__version_ext_crcs");
  const names = elf.section("__version_ext_names");
  if (crcs && names) {
    const r = new ByteReader(crcs.data, bad);
    const list = latin1(names.data).split("\0");
    const count = Math.trunc(r.length / 4);
    if (count > list.length) throw bad("its extended versions have fewer names than CRCs");
    for (let index = 0; index < count; index++) {
      const name = list[index]!;
      if (name !== "") versions.set(name, r.u32(index * 4));
    }
  }
  return versions;
}
