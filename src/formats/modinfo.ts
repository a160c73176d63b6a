import { latin1 } from "./bytes.ts";

/** The values of each key of .modinfo, in file order; keys such as `alias` and `parm` have many. */
export type ModuleInfo = ReadonlyMap<string, readonly string[]>;

/** Reads .modinfo: `key=value` strings, NUL-terminated (include/linux/moduleparam.h, __MODULE_INFO). */
export function parseModinfo(section: Uint8Array): ModuleInfo {
  const info = new Map<string, string[]>();
  for (const entry of latin1(section).split("\0")) {
    const equals = entry.indexOf("=");
    if (equals <= 0) continue;
    const key = entry.slice(0, equals);
    const value = entry.slice(equals + 1);
    const values = info.get(key);
    if (values) values.push(value);
    else info.set(key, [value]);
  }
  return info;
}
