/**
 * Which files may use what a header changes, told from the text of the sources: most units that include a header use
 * nothing of what a patch changes in it, and need not even be preprocessed. Pure.
 *
 * A name is used where it is spelled. In a header that may be in something that makes no code by itself (a macro, a
 * declaration, an inline function), which is followed by its own name; every doubt counts as a use.
 */
import { type HeaderItem, headerItems, namesOfItem, plainCode } from "./header-changes.ts";
import { mayPaste, type PasteChain, pasteChains, wordsWithin } from "./pasted-names.ts";

/** So many names may hang on a change before it is taken for used everywhere. */
const maximumNames = 300;

export interface HeaderUsers {
  /** All names by which something that changes may be used. */
  names: ReadonlySet<string>;
  /** Files with a use that counts in each unit that reads them. */
  users: ReadonlySet<string>;
}

/**
 * @param changed names that change in the headers
 * @param texts of all files that the units in question read, unpatched, by path
 * @param unchanged what stays in the headers that change, by path
 * @returns undefined where too much hangs on it
 */
export function headerUsers(
  changed: Iterable<string>,
  texts: ReadonlyMap<string, string>,
  unchanged: ReadonlyMap<string, readonly HeaderItem[]>,
): HeaderUsers | undefined {
  const names = new Set(changed);
  const users = new Set<string>();
  const plain = new Map<string, string>();
  const items = new Map<string, readonly HeaderItem[] | undefined>(unchanged);
  let fresh = [...names];
  while (fresh.length > 0) {
    const mention = wordPattern(fresh);
    fresh = [];
    const add = (name: string): void => {
      if (names.has(name)) return;
      names.add(name);
      fresh.push(name);
    };
    for (const [path, text] of texts) {
      if (users.has(path) || !mention.test(text)) continue;
      const code = plain.get(path) ?? plainCode(text) ?? text;
      plain.set(path, code);
      if (!mention.test(code)) continue;
      if (!path.endsWith(".h")) {
        users.add(path);
        continue;
      }
      if (!items.has(path)) items.set(path, headerItems(text));
      const own = items.get(path);
      const declared = own?.filter((item) => mention.test(item.text)).map((item) => namesOfItem(item));
      if (declared === undefined || declared.includes(undefined)) users.add(path);
      else for (const name of declared.flatMap((one) => one ?? [])) add(name);
    }
    if (names.size > maximumNames) return undefined;
  }
  return { names, users };
}

/** Whether a unit may use one of the names. */
export type UseJudge = (unit: { read: readonly string[]; command: readonly string[] }) => boolean;

/** @param texts as for {@link headerUsers} */
export function useJudge({ names, users }: HeaderUsers, texts: ReadonlyMap<string, string>): UseJudge {
  const mention = wordPattern([...names]);
  const codes = [...texts].map(([path, text]) => [path, plainCode(text) ?? text] as const);
  const chains = new Map<string, readonly PasteChain[]>();
  for (const [path, code] of codes) if (code.includes("##")) chains.set(path, pasteChains(code));
  const all = new Map([...chains.values()].flat().map((chain) => [chain.key, chain]));
  const parts = wordsWithin(names, codes);
  const pasted = mayPaste(names, all.values(), (word) => parts.has(word));
  return ({ read, command }) => {
    if (read.some((path) => users.has(path)) || mention.test(command.join(" "))) return true;
    const own = new Set(read);
    const keys = new Set(read.flatMap((path) => (chains.get(path) ?? []).map(({ key }) => key)));
    const isSpelled = (word: string) => [...(parts.get(word) ?? [])].some((path) => own.has(path));
    return pasted.some(({ chain, words }) => keys.has(chain) && words.every(isSpelled));
  };
}

function wordPattern(words: readonly string[]): RegExp {
  return new RegExp(`(?<![\\w$])(?:${words.map((word) => word.replaceAll("$", "\\$")).join("|")})(?![\\w$])`);
}
