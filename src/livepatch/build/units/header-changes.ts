/**
 * What changes in a header, where that can be told from its text alone: macros, declarations and inline functions by
 * their names. A unit in whose preprocessed text none of the names stands is not reached, and needs no second look.
 * Pure.
 */
import { type Declaration, declarationsIn, declaredNames } from "./declarations.ts";

/** A name that a header's change is about. */
export interface ChangedName {
  name: string;
  /** Macros have no text of their own after preprocessing. */
  macro: boolean;
  /** Whether what changes declares it in the text before, where the name then stands once. */
  declaredBefore: boolean;
}

/**
 * @returns the names by which what changes can be used, each once; undefined where the text does not tell: changed
 *   conditionals, types without a name, what macros may declare, one name in several changed places
 */
export function changedNames(before: string, after: string): ChangedName[] | undefined {
  const [old, now] = [headerItems(before), headerItems(after)];
  if (!old || !now) return undefined;
  const [gone, come] = [beyond(old, now), beyond(now, old)];
  // What stays has to keep its order, for a macro counts from its definition on.
  const [stayed, left] = [old.filter((item) => !gone.has(item)), now.filter((item) => !come.has(item))];
  if (stayed.length !== left.length || stayed.some(({ text }, i) => text !== left[i]!.text)) return undefined;
  const names = new Map<string, ChangedName & { after: number }>();
  for (const [side, items] of [
    ["before", gone],
    ["after", come],
  ] as const) {
    const here = new Set<string>();
    for (const item of items) {
      const found = namesOfItem(item);
      if (found === undefined) return undefined;
      for (const name of found) {
        if (here.has(name)) return undefined;
        here.add(name);
        const macro = item.kind === "define";
        const known = names.get(name);
        // The old one may be in a conditional that is off, and the new one in force.
        if (known && (known.macro !== macro || known.after !== item.after)) return undefined;
        const declaredBefore = known?.declaredBefore ?? (side === "before" && !macro);
        // A second time it may be dropped by a macro, and a use elsewhere be counted in its place.
        if (side === "before" && !macro && occurrencesOf(name, item.text) !== 1) return undefined;
        names.set(name, { name, macro, declaredBefore, after: item.after });
      }
    }
  }
  return [...names.values()].map(({ name, macro, declaredBefore }) => ({ name, macro, declaredBefore }));
}

/** The items of a header that a patch leaves alone; undefined where the text does not tell. */
export function unchangedItems(before: string, after: string): HeaderItem[] | undefined {
  const [old, now] = [headerItems(before), headerItems(after)];
  if (!old || !now) return undefined;
  const gone = beyond(old, now);
  return old.filter((item) => !gone.has(item));
}

/** A directive or an outermost declaration of a header. */
export interface HeaderItem {
  kind: "define" | "directive" | "declaration";
  text: string;
  /** How many directives come before it. */
  after: number;
}

/** The items that one list has and the other has not, or not so often. */
function beyond(items: readonly HeaderItem[], others: readonly HeaderItem[]): Set<HeaderItem> {
  const count = new Map<string, number>();
  for (const { text } of others) count.set(text, (count.get(text) ?? 0) + 1);
  const rest = new Set<HeaderItem>();
  for (const item of items) {
    const left = count.get(item.text) ?? 0;
    if (left > 0) count.set(item.text, left - 1);
    else rest.add(item);
  }
  return rest;
}

function occurrencesOf(name: string, text: string): number {
  return (text.match(/[A-Za-z_$][\w$]*/g) ?? []).filter((word) => word === name).length;
}

/** Source text with blanks for comments, and each directive on one line; undefined when a comment does not end. */
export function plainCode(text: string): string | undefined {
  return withoutComments(text.replace(/\\\r?\n/g, " "));
}

/** Undefined where brackets do not match. */
export function headerItems(text: string): HeaderItem[] | undefined {
  const plain = plainCode(text);
  const declarations = plain === undefined ? undefined : declarationsIn(plain);
  if (!declarations) return undefined;
  let directives = 0;
  return declarations
    .flatMap((declaration) => itemsOfDeclaration(plain!, declaration))
    .map((item) => ({ ...item, after: item.kind === "directive" ? directives++ : directives }));
}

/** Directives that stand before a declaration are items of their own. */
function itemsOfDeclaration(plain: string, { start, end }: Declaration): Omit<HeaderItem, "after">[] {
  const items: Omit<HeaderItem, "after">[] = [];
  let rest = plain.slice(start, end);
  for (;;) {
    const line = /^\s*#[^\n]*(?:\n|$)/.exec(rest)?.[0];
    if (line === undefined) break;
    const text = squeezed(line);
    items.push({ kind: /^# ?define\b/.test(text) ? "define" : "directive", text });
    rest = rest.slice(line.length);
  }
  const text = squeezed(rest);
  return text === "" ? items : [...items, { kind: "declaration", text: /#/.test(rest) ? `\n${rest}` : text }];
}

function squeezed(text: string): string {
  return text.replace(/\s+/g, " ").trim();
}

/**
 * The names by which an item can be used, when it makes no code by itself; undefined when it may, and for a directive,
 * whose conditions decide over what follows.
 */
export function namesOfItem({ kind, text }: Pick<HeaderItem, "kind" | "text">): string[] | undefined {
  if (kind === "directive") return undefined;
  if (kind === "define") {
    const name = /^# ?define (\w+)/.exec(text)?.[1];
    return name === undefined ? undefined : [name];
  }
  // Unexpanded: where a macro could declare something, the names are not all there.
  if (/^(?:struct|union|enum)\b[^(;]*\{/.test(text))
    // In a type only pointers to functions have parentheses for certain: the others may be a macro's.
    return /\w\s*\((?!\s*\*)|#/.test(text.replace(/\)\s*\([^()]*\)/g, ")")) ? undefined : declaredNames(text);
  const inline = /^(?:static|extern) (?:__always_)?inline\b/.test(text);
  const head = inline ? text.slice(0, text.indexOf("{")) : text;
  const words = (head.slice(0, head.indexOf("(")).match(/[A-Za-z_]\w*/g) ?? []).filter(
    (word) => !/^(?:extern|static|const|volatile|__always_inline|inline)$/.test(word),
  );
  if (/#|\b(?:struct|union|enum|typedef)\b[^(;]*\{/.test(head) || head.includes("[")) return undefined;
  if (!head.includes("(")) return /^struct \w+ ?;$/.test(text) ? [] : undefined;
  // A type, at least, stands before a function's name; before a macro's there is nothing.
  if (words.length < 2) return undefined;
  const names = declaredNames(text.replaceAll("__always_inline", "inline"));
  return names?.length === 1 && names[0] === words.at(-1) ? names : undefined;
}

/** Blanks in the place of comments; undefined when one does not end. */
function withoutComments(text: string): string | undefined {
  let result = "";
  let from = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text[i]!;
    if (c === '"' || c === "'") {
      // An apostrophe in a directive (#error don't) is no character constant: it ends with its line.
      for (i++; i < text.length && text[i] !== c && text[i] !== "\n"; i++) if (text[i] === "\\") i++;
    } else if (c === "/" && (text[i + 1] === "*" || text[i + 1] === "/")) {
      const end = text[i + 1] === "*" ? text.indexOf("*/", i + 2) : text.indexOf("\n", i);
      if (end < 0) return undefined;
      result += `${text.slice(from, i)} `;
      from = text[i + 1] === "*" ? end + 2 : end;
      i = from - 1;
    }
  }
  return result + text.slice(from);
}
