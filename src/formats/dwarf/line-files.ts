import type { RekernelError } from "../../core/errors.ts";
import {
  DW_FORM_block,
  DW_FORM_block1,
  DW_FORM_data1,
  DW_FORM_data2,
  DW_FORM_data4,
  DW_FORM_data8,
  DW_FORM_data16,
  DW_FORM_line_strp,
  DW_FORM_string,
  DW_FORM_strp,
  DW_FORM_udata,
  DW_LNCT_directory_index,
  DW_LNCT_path,
} from "./constants.ts";
import { boundedString, Cursor } from "./cursor.ts";

export interface LineSections {
  line: Uint8Array;
  lineStrings: Uint8Array;
  strings: Uint8Array;
}

/**
 * Files that the line number program at `offset` names, by the index that DW_AT_decl_file uses: paths as the
 * compiler was given them, so mostly relative to the folder that it ran in (DWARF 2 to 5, section 6.2.4).
 */
export function lineFiles(
  sections: LineSections,
  offset: number,
  fail: (reason: string) => RekernelError,
): (string | undefined)[] {
  const cursor = new Cursor(sections.line, fail, offset);
  let length = cursor.u32();
  const wide = length === 0xffffffff;
  if (wide) length = cursor.u64();
  if (!(cursor.at + length <= sections.line.length))
    throw fail("a line table runs over the end of .debug_line");
  cursor.end = cursor.at + length;
  const version = cursor.u16();
  if (version < 2 || version > 5) throw fail(`a line table has version ${version}`);
  if (version === 5) cursor.skip(2);
  cursor.skip(wide ? 8 : 4);
  // Minimum instruction length, from version 4 on the maximum of operations, default_is_stmt, line base and range.
  cursor.skip(version >= 4 ? 5 : 4);
  const opcodeBase = cursor.u8();
  cursor.skip(Math.max(opcodeBase - 1, 0));
  return version === 5 ? files5(cursor, sections, wide, fail) : files2(cursor);
}

function files2(cursor: Cursor): (string | undefined)[] {
  const directories = ["."];
  for (;;) {
    const name = boundedString(cursor.bytes, cursor.skipString());
    if (name === "") break;
    directories.push(name);
  }
  const files: (string | undefined)[] = [undefined];
  for (;;) {
    const name = boundedString(cursor.bytes, cursor.skipString());
    if (name === "") return files;
    files.push(joined(directories[cursor.uleb()], name));
    cursor.uleb();
    cursor.uleb();
  }
}

function files5(
  cursor: Cursor,
  sections: LineSections,
  wide: boolean,
  fail: (reason: string) => RekernelError,
): string[] {
  const entries = (): { path: string; directory: number }[] => {
    const format = Array.from({ length: cursor.u8() }, () => ({
      content: cursor.uleb(),
      form: cursor.uleb(),
    }));
    const count = cursor.uleb();
    // Each entry takes at least a byte: a count beyond that cannot be true.
    if (format.length === 0 ? count > 0 : count > cursor.end - cursor.at)
      throw fail(`a line table claims ${count} entries`);
    return Array.from({ length: count }, () => {
      const entry = { path: "", directory: 0 };
      for (const { content, form } of format) {
        const value = field(cursor, form, sections, wide, fail);
        if (content === DW_LNCT_path && typeof value === "string") entry.path = value;
        if (content === DW_LNCT_directory_index && typeof value === "number") entry.directory = value;
      }
      return entry;
    });
  };
  const directories = entries().map(({ path }) => path);
  // Directory 0 is the one that the compiler ran in.
  directories[0] = ".";
  return entries().map(({ path, directory }) => joined(directories[directory], path));
}

function field(
  cursor: Cursor,
  form: number,
  sections: LineSections,
  wide: boolean,
  fail: (reason: string) => RekernelError,
): string | number | undefined {
  switch (form) {
    case DW_FORM_string:
      return boundedString(cursor.bytes, cursor.skipString());
    case DW_FORM_line_strp:
      return boundedString(sections.lineStrings, wide ? cursor.u64() : cursor.u32());
    case DW_FORM_strp:
      return boundedString(sections.strings, wide ? cursor.u64() : cursor.u32());
    case DW_FORM_udata:
      return cursor.uleb();
    case DW_FORM_data1:
      return cursor.u8();
    case DW_FORM_data2:
      return cursor.u16();
    case DW_FORM_data4:
      return cursor.u32();
    case DW_FORM_data8:
      return cursor.u64();
    case DW_FORM_data16:
      cursor.skip(16);
      return undefined;
    case DW_FORM_block1:
      cursor.skip(cursor.u8());
      return undefined;
    case DW_FORM_block:
      cursor.skip(cursor.uleb());
      return undefined;
    default:
      throw fail(`a line table has a field of the unknown form 0x${form.toString(16)}`);
  }
}

function joined(directory: string | undefined, name: string): string {
  return name.startsWith("/") || directory === undefined || directory === "." ? name : `${directory}/${name}`;
}
