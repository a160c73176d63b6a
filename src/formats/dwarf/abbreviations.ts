import type { RekernelError } from "../../core/errors.ts";
import { DW_FORM_implicit_const } from "./constants.ts";
import { Cursor } from "./cursor.ts";

/** How entries with one abbreviation code look. */
export interface Abbreviation {
  tag: number;
  hasChildren: boolean;
  attributes: readonly number[];
  forms: readonly number[];
  /** Values of attributes with DW_FORM_implicit_const. */
  constants: readonly number[];
}

/** The abbreviation table at an offset of .debug_abbrev, by code (DWARF 5, section 7.5.3). */
export function readAbbreviations(
  section: Uint8Array,
  offset: number,
  fail: (reason: string) => RekernelError,
): Map<number, Abbreviation> {
  const cursor = new Cursor(section, fail, offset);
  const table = new Map<number, Abbreviation>();
  for (;;) {
    // Some producers leave the last table without its end.
    if (cursor.at === cursor.end) return table;
    const code = cursor.uleb();
    if (code === 0) return table;
    const tag = cursor.uleb();
    const hasChildren = cursor.u8() !== 0;
    const attributes: number[] = [];
    const forms: number[] = [];
    const constants: number[] = [];
    for (;;) {
      const attribute = cursor.uleb();
      const form = cursor.uleb();
      const constant = form === DW_FORM_implicit_const ? cursor.sleb() : 0;
      if (attribute === 0 && form === 0) break;
      attributes.push(attribute);
      forms.push(form);
      constants.push(constant);
    }
    table.set(code, { tag, hasChildren, attributes, forms, constants });
  }
}
