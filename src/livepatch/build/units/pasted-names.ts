/**
 * Names that macros put together with `##`: in the text of the sources these are spelled nowhere. Pure.
 *
 * Where a part of the name is a word in the macro itself (`trace_##name`), the rest counts as given; where all of it
 * comes from outside (`a##_##b`), each part has to be spelled somewhere as an argument.
 */

/** What one `a ## b ## c` in a macro puts together. */
export interface PasteChain {
  /** Text that tells it from others. */
  key: string;
  /** Words that stand there; undefined for a parameter. */
  pieces: readonly (string | undefined)[];
}

/** A way to make one of the names: these words have to be spelled as arguments in what reads the chain. */
export interface Pasting {
  chain: string;
  words: readonly string[];
}

/** @param code without comments, each directive on one line */
export function pasteChains(code: string): PasteChain[] {
  const chains = new Map<string, PasteChain>();
  for (const [, list, body = ""] of code.matchAll(
    /^[ \t]*#[ \t]*define[ \t]+[\w$]+(?:\(([^)\n]*)\))?([^\n]*##[^\n]*)$/gm,
  )) {
    const parameters = new Set(
      (list ?? "").split(",").map((name) => name.trim().replace(/\s*\.\.\.$/, "") || "__VA_ARGS__"),
    );
    const tokens = body.match(/##|[\w$]+|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s\w$]/g) ?? [];
    let pieces: (string | undefined)[] = [];
    const finish = (): void => {
      const key = pieces.map((piece) => piece ?? "#").join(" ");
      if (pieces.length > 1) chains.set(key, { key, pieces });
      pieces = [];
    };
    for (const [i, token] of tokens.entries()) {
      if (token === "##" || (tokens[i - 1] !== "##" && tokens[i + 1] !== "##")) continue;
      if (tokens[i - 1] !== "##") finish();
      // A closing parenthesis ends __VA_OPT__().
      if (token === ")" || parameters.has(token)) pieces.push(undefined);
      else if (/^[\w$]+$/.test(token)) pieces.push(token);
      else finish();
    }
    finish();
  }
  return [...chains.values()];
}

/** A literal of as many letters says what the name is about. */
const tellingLetters = 2;

/** @param isSpelled whether a word is spelled in any of the files: most parts of names are not */
export function mayPaste(
  names: Iterable<string>,
  chains: Iterable<PasteChain>,
  isSpelled: (word: string) => boolean,
): Pasting[] {
  const found: Pasting[] = [];
  const list = [...chains];
  for (const name of names)
    for (const { key, pieces } of list) {
      const tells = pieces.some((piece) => (piece?.match(/[A-Za-z]/g) ?? []).length >= tellingLetters);
      if (tells) {
        const pattern = pieces.map((piece) => piece?.replaceAll("$", "\\$") ?? "[\\w$]*").join("");
        if (new RegExp(`^${pattern}$`).test(name)) found.push({ chain: key, words: [] });
      } else for (const words of splits(name, pieces, isSpelled)) found.push({ chain: key, words });
    }
  return found;
}

/** The ways in which the pieces make up the text, each parameter a word that is spelled, or nothing. */
function* splits(
  text: string,
  pieces: readonly (string | undefined)[],
  isSpelled: (word: string) => boolean,
  whole = text,
): Generator<string[]> {
  const [piece, ...rest] = pieces;
  if (pieces.length === 0) {
    if (text === "") yield [];
    return;
  }
  if (piece !== undefined) {
    if (text.startsWith(piece)) yield* splits(text.slice(piece.length), rest, isSpelled, whole);
    return;
  }
  for (let length = 0; length <= text.length; length++) {
    const word = text.slice(0, length);
    // The name itself would be found where it is spelled.
    if (word === whole || (word !== "" && !isSpelled(word))) continue;
    for (const others of splits(text.slice(length), rest, isSpelled, whole))
      yield word === "" ? others : [word, ...others];
  }
}

/**
 * The parts of these names that are spelled as arguments, by the files that spell them.
 *
 * @param codes without comments
 */
export function wordsWithin(
  names: Iterable<string>,
  codes: Iterable<readonly [path: string, code: string]>,
): Map<string, Set<string>> {
  const parts = new Set<string>();
  for (const name of names)
    for (let start = 0; start < name.length; start++)
      for (let end = start + 1; end <= name.length; end++)
        if (end - start < name.length) parts.add(name.slice(start, end));
  const found = new Map<string, Set<string>>();
  for (const [path, code] of codes)
    for (const { 0: word, index } of code.matchAll(/[\w$]+/g)) {
      if (!parts.has(word) || !isArgument(code, index, index + word.length)) continue;
      const files = found.get(word);
      if (files) files.add(path);
      else found.set(word, new Set([path]));
    }
  return found;
}

/** Whether what stands there is all of an argument. */
function isArgument(code: string, start: number, end: number): boolean {
  while (start > 0 && isBlank(code.charCodeAt(start - 1))) start--;
  while (isBlank(code.charCodeAt(end))) end++;
  return "(,".includes(code.charAt(start - 1) || " ") && ",)".includes(code.charAt(end) || " ");
}

function isBlank(code: number): boolean {
  return code === 32 || (code >= 9 && code <= 13);
}
