/** Which entry GRUB starts when nobody presses a key (grub-core/normal/menu.c get_entry_number). Pure. */
import type { GrubEntry } from "./menu.ts";

/** A chosen entry: where it stands in the menus, from the outermost. */
export interface GrubDefault {
  /** Number in each menu, from 0: GRUB writes it `1>2`. */
  path: number[];
  entry: GrubEntry;
  /** What `default` names was not found somewhere on the way, and GRUB takes the first entry of that menu. */
  missing: boolean;
}

/**
 * @param value of the variable `default`: a number, title or id, and behind `>` the same for the submenu
 * @returns undefined for an empty menu
 */
export function grubDefault(entries: readonly GrubEntry[], value: string): GrubDefault | undefined {
  const path: number[] = [];
  let missing = false;
  let menu = entries;
  let [name, ...rest] = splitDefault(value);
  for (;;) {
    const found = indexOf(menu, name ?? "0");
    if (found === undefined) missing = true;
    const index = found ?? 0;
    const entry = menu[index];
    if (entry === undefined) return undefined;
    path.push(index);
    if (entry.children === undefined) return { path, entry, missing };
    menu = entry.children;
    // Nothing is said about a submenu of an entry that was not meant.
    [name, ...rest] = found === undefined ? [] : rest;
  }
}

/** Parts between single `>`; a doubled one belongs to a title. */
function splitDefault(value: string): string[] {
  const parts = [""];
  for (const [piece] of value.matchAll(/>>|>|[^>]+/g)) {
    if (piece === ">") parts.push("");
    else parts[parts.length - 1] += piece === ">>" ? ">" : piece;
  }
  return parts;
}

function indexOf(menu: readonly GrubEntry[], name: string): number | undefined {
  const number = /^\s*(\d{1,9})\s*$/.exec(name)?.[1];
  const index =
    number === undefined
      ? menu.findIndex(({ title, id }) => title === name || id === name)
      : Number(number) < menu.length
        ? Number(number)
        : -1;
  return index < 0 ? undefined : index;
}
