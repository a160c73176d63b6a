/**
 * Which changes of a unit's preprocessed text cannot matter to its code: a declaration, a type or an inline function
 * that nothing of the unit uses. Most units that a header reaches use nothing of what a patch changes in it. Pure.
 *
 * Only what is understood for certain is left out: every doubt counts as a change that matters.
 */

/** From the end of one outermost declaration to the next. */
export interface Declaration {
  start: number;
  end: number;
}

/** So many names may hang on a change before it counts as one that matters. */
const maximumNames = 200;

/**
 * Whether what differs between two texts of one unit, as `gcc -E -P` makes them, can change its code.
 *
 * @returns false only when each declaration that came, went or changed is one that makes no code by itself, and
 *   nothing that makes code names it, nor anything that does, through other declarations
 */
export function changeMatters(before: string, after: string): boolean {
  if (before === after) return false;
  const [old, now] = [declarationsIn(before), declarationsIn(after)];
  if (!old || !now) return true;
  const [onlyBefore, onlyAfter] = differing(textsOf(before, old), textsOf(after, now));
  const names: string[] = [];
  const known = new Set<string>();
  const add = (text: string): boolean => {
    const declared = declaredNames(text);
    for (const name of declared ?? [])
      if (!known.has(name)) {
        known.add(name);
        names.push(name);
      }
    return declared !== undefined && names.length <= maximumNames;
  };
  for (const text of [...onlyBefore, ...onlyAfter.values()]) if (!add(text)) return true;
  const seen = new Set(onlyAfter.keys());
  for (let i = 0; i < names.length; i++)
    for (const index of mentions(after, now, names[i]!)) {
      if (seen.has(index)) continue;
      seen.add(index);
      if (!add(after.slice(now[index]!.start, now[index]!.end))) return true;
    }
  return false;
}

/** The declarations that a word stands in, the last first: what makes code comes after what it uses. */
function* mentions(text: string, spans: readonly Declaration[], word: string): Generator<number> {
  let index = spans.length - 1;
  for (let at = text.lastIndexOf(word); at >= 0; at = at === 0 ? -1 : text.lastIndexOf(word, at - 1)) {
    if (isWord(text.charCodeAt(at - 1)) || isWord(text.charCodeAt(at + word.length))) continue;
    while (index > 0 && spans[index]!.start > at) index--;
    yield index;
  }
}

function isWord(code: number): boolean {
  return (
    (code >= 97 && code <= 122) ||
    (code >= 65 && code <= 90) ||
    (code >= 48 && code <= 57) ||
    code === 95 ||
    code === 36
  );
}

function textsOf(text: string, spans: readonly Declaration[]): string[] {
  return spans.map(({ start, end }) => text.slice(start, end));
}

/** Texts that one list has more often than the other; of the second list with their places. */
function differing(old: readonly string[], now: readonly string[]): [string[], Map<number, string>] {
  let first = 0;
  const shorter = Math.min(old.length, now.length);
  while (first < shorter && old[first] === now[first]) first++;
  let last = 0;
  while (last < shorter - first && old.at(-1 - last) === now.at(-1 - last)) last++;
  const balance = new Map<string, number>();
  const changed = old.slice(first, old.length - last).map(squeezed);
  for (const text of changed) balance.set(text, (balance.get(text) ?? 0) + 1);
  const onlyAfter = new Map<number, string>();
  for (let i = first; i < now.length - last; i++) {
    const text = squeezed(now[i]!);
    const left = balance.get(text) ?? 0;
    if (left > 0) balance.set(text, left - 1);
    else onlyAfter.set(i, text);
  }
  return [changed.filter((text) => (balance.get(text) ?? 0) > 0), onlyAfter];
}

function squeezed(text: string): string {
  return text.replace(/\s+/g, " ").trim();
}

/**
 * Where the outermost declarations of a preprocessed text lie: each ends with its semicolon, or with its body.
 * Directives that are left (#pragma) belong to the declaration that follows. Undefined where brackets do not match.
 */
export function declarationsIn(text: string): Declaration[] | undefined {
  const spans: Declaration[] = [];
  let start = 0;
  let depth = 0;
  /** Of this declaration, outside of brackets: a "=" was there, parentheses that are not an attribute's were. */
  let initialised = false;
  let parameters = false;
  let body = false;
  let wordStart = -1;
  let lastWord = "";
  const finish = (end: number): void => {
    spans.push({ start, end });
    start = end;
    initialised = false;
    parameters = false;
    body = false;
    lastWord = "";
  };
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (isWord(code)) {
      if (wordStart < 0) wordStart = i;
      continue;
    }
    if (wordStart >= 0) {
      if (depth === 0) lastWord = text.slice(wordStart, i);
      wordStart = -1;
    }
    switch (code) {
      case 34: // "
      case 39: // '
        for (i++; i < text.length && text.charCodeAt(i) !== code; i++) if (text.charCodeAt(i) === 92) i++;
        break;
      case 35: // #
        while (i + 1 < text.length && text.charCodeAt(i + 1) !== 10) i++;
        break;
      case 123: // {
        if (depth === 0) body = parameters && !initialised;
        depth++;
        break;
      case 40: // (
        if (depth === 0 && !notParameters.has(lastWord)) parameters = true;
        depth++;
        break;
      case 91: // [
        depth++;
        break;
      case 125: // }
        depth--;
        if (depth < 0) return undefined;
        if (depth === 0 && body) finish(i + 1);
        break;
      case 41: // )
      case 93: // ]
        depth--;
        if (depth < 0) return undefined;
        break;
      case 61: // =
        if (depth === 0) initialised = true;
        break;
      case 59: // ;
        if (depth === 0) finish(i + 1);
        break;
    }
  }
  if (depth !== 0) return undefined;
  if (text.slice(start).trim() !== "") finish(text.length);
  return spans;
}

/** Words whose parentheses are not a function's. */
const notParameters = new Set([
  "__attribute__",
  "__attribute",
  "__typeof__",
  "__typeof",
  "typeof",
  "__typeof_unqual__",
  "typeof_unqual",
  "_Alignas",
  "__asm__",
  "__asm",
  "asm",
]);

/** With these the compiler keeps or makes something although nothing in the unit names it. */
const kept = /^_*(?:alias|ifunc|weakref|constructor|destructor|used|retain|asm|cleanup)_*$/;

const inline = new Set(["inline", "__inline", "__inline__"]);

/**
 * The names that an outermost declaration declares, when it makes no code or data by itself.
 * Undefined when it does, or may: a function, a variable, an assembly statement, or what is not understood.
 */
export function declaredNames(text: string): string[] | undefined {
  const all: readonly string[] =
    text.match(/[A-Za-z_$][\w$]*|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\d[\w.]*|[^\s\w]/g) ?? [];
  if (all.length === 0 || (all.length === 1 && all[0] === ";")) return [];
  if (all.includes("#")) return undefined;
  if (all[0] === "_Static_assert" || all[0] === "static_assert") return [];
  const head = headOf(all);
  if (!head || head.attributes.some((word) => kept.test(word))) return undefined;
  const { tokens, body } = head;
  // What stands outside of brackets.
  const outer = tokens.filter((token): token is string => typeof token === "string");
  if (outer.includes("=") || outer.includes(",") || outer.some((word) => kept.test(word))) return undefined;
  const group = tokens.findIndex((token) => typeof token !== "string" && token.open === "(");
  const braces = tokens.findIndex((token) => typeof token !== "string" && token.open === "{");
  if (body) {
    const name = tokens[group - 1];
    if (typeof name !== "string" || !isName(name) || !outer.some((word) => inline.has(word)))
      return undefined;
    const leavesNoCopy =
      outer.includes("static") ||
      (outer.includes("extern") && head.attributes.some((word) => /^_*gnu_inline_*$/.test(word)));
    return leavesNoCopy ? [name] : undefined;
  }
  if (outer.at(-1) !== ";") return undefined;
  const isTypedef = outer[0] === "typedef";
  const inBraces = braces < 0 ? [] : typeNames(all);
  if (isTypedef)
    return [...inBraces, ...outer.filter(isName), ...groups(tokens).flatMap((one) => one.filter(isName))];
  const words = outer.filter((word) => isName(word) && !qualifiers.has(word));
  if (["struct", "union", "enum"].includes(words[0] ?? "")) {
    // A type alone: after its members nothing is declared.
    if (braces >= 0) return tokens.length === braces + 2 && group < 0 ? inBraces : undefined;
    if (words.length === 2 && group < 0 && !outer.includes("*") && !outer.includes("extern")) return [];
  }
  if (braces >= 0) return undefined;
  if (group > 0) {
    const pointer = groups([tokens[group]!])[0]!;
    if (pointer[0] === "*") return outer.includes("extern") ? pointer.filter(isName) : undefined;
    const name = tokens[group - 1];
    // More than one pair of parentheses is more than a function's declaration.
    return typeof name === "string" && isName(name) && groups(tokens).length === 1 ? [name] : undefined;
  }
  if (!outer.includes("extern")) return undefined;
  const name = words.at(-1);
  return name === undefined ? undefined : [name];
}

const qualifiers = new Set([
  "extern",
  "static",
  "const",
  "volatile",
  "__extension__",
  "register",
  "_Thread_local",
]);

function isName(token: string): boolean {
  return /^[A-Za-z_$]/.test(token);
}

interface Group {
  open: string;
  inside: string[];
}

/** The tokens outside of brackets, each bracketed group in one piece, attributes apart; of a function, up to its body. */
function headOf(
  all: readonly string[],
): { tokens: (string | Group)[]; attributes: string[]; body: boolean } | undefined {
  const tokens: (string | Group)[] = [];
  const attributes: string[] = [];
  let parameters = false;
  for (let i = 0; i < all.length; i++) {
    const token = all[i]!;
    if (!"([{".includes(token)) {
      tokens.push(token);
      continue;
    }
    const end = closing(all, i);
    if (end === undefined) return undefined;
    const inside = all.slice(i + 1, end);
    const before = all[i - 1] ?? "";
    if (token === "(" && notParameters.has(before)) {
      tokens.pop();
      attributes.push(before, ...inside);
      // The type that typeof stands for is a word like another.
      if (/typeof/.test(before)) tokens.push("int");
    } else if (token === "{" && parameters && end === all.length - 1) {
      return { tokens, attributes, body: true };
    } else {
      if (token === "(") parameters = true;
      tokens.push({ open: token, inside });
    }
    i = end;
  }
  return { tokens, attributes, body: false };
}

function closing(all: readonly string[], open: number): number | undefined {
  let depth = 0;
  for (let i = open; i < all.length; i++) {
    if ("([{".includes(all[i]!)) depth++;
    else if (")]}".includes(all[i]!) && --depth === 0) return i;
  }
  return undefined;
}

function groups(tokens: readonly (string | Group)[]): string[][] {
  return tokens.flatMap((token) => (typeof token !== "string" && token.open === "(" ? [token.inside] : []));
}

/** Tags that get a definition, and the constants of enumerations. */
function typeNames(all: readonly string[]): string[] {
  const names: string[] = [];
  for (let i = 0; i < all.length; i++) {
    if (!["struct", "union", "enum"].includes(all[i]!)) continue;
    const tags: string[] = [];
    let open = i + 1;
    for (; open < all.length && (isName(all[open]!) || all[open] === "("); open++)
      if (all[open] === "(") open = closing(all, open) ?? all.length;
      else if (!notParameters.has(all[open]!)) tags.push(all[open]!);
    if (all[open] !== "{") continue;
    names.push(...tags);
    if (all[i] === "enum") names.push(...all.slice(open, closing(all, open) ?? all.length).filter(isName));
  }
  return names;
}
