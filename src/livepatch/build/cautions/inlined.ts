/** Functions that change because the compiler has put a changed function into them: all of its carriers. Pure. */
import { sourceName } from "../callers/definitions.ts";
import type { ChangedFunction, Difference } from "../difference/difference.ts";

/** An inlined function that the patch changes, and the functions of the symbol table that hold a copy of it. */
export interface InlinedChange {
  name: string;
  into: string[];
}

/**
 * Names of the functions whose text differs, in two versions of one C file or header, comments and white space aside.
 * Macros that make functions are not looked into.
 */
export function changedSourceFunctions(before: string, after: string): Set<string> {
  const [old, now] = [sourceFunctions(before), sourceFunctions(after)];
  return new Set([...now].filter(([name, text]) => old.get(name) !== text).map(([name]) => name));
}

/** Comments, preprocessor lines, strings and characters; braces and semicolons; the rest is passed over. */
const token =
  /\/\*[\s\S]*?\*\/|\/\/[^\n]*|^[ \t]*#(?:\\\n|[^\n])*|"(?:\\[\s\S]|[^"\\\n])*"|'(?:\\.|[^'\\\n])+'|[{};]/gm;
/** What stands before a parameter list, but not a function's name. */
const attribute = /^__(attribute__|printf|scanf|section|aligned|no_sanitize|assume_aligned)$/;

/** Functions by name, with their text: comments left out, white space made equal. */
function sourceFunctions(text: string): Map<string, string> {
  const found = new Map<string, string>();
  let depth = 0;
  let plain = "";
  let name: string | undefined;
  let last = 0;
  for (const { 0: part, index } of text.matchAll(token)) {
    plain += text.slice(last, index);
    last = index + part.length;
    if (part.startsWith("/") || part.includes("#")) {
      if (!/^["']/.test(part)) {
        plain += " ";
        continue;
      }
    }
    const isFirstColumn = index === 0 || text[index - 1] === "\n";
    if (part === "{") {
      // Braces of #ifdef branches need not balance: those in the first column are a function's own.
      if (isFirstColumn) depth = 0;
      if (depth++ === 0) name = definedName(plain);
    }
    plain += part;
    if (part === "}") depth = isFirstColumn ? 0 : Math.max(0, depth - 1);
    if (depth > 0 || (part !== "}" && part !== ";")) continue;
    // Several of one name, under #ifdef: a change of any counts.
    if (part === "}" && name !== undefined)
      found.set(name, (found.get(name) ?? "") + plain.replace(/\s+/g, " ").trim());
    name = undefined;
    plain = "";
  }
  return found;
}

/** The function that begins with this text; undefined for a type or an initialiser. */
function definedName(head: string): string | undefined {
  if (head.trimEnd().endsWith("=")) return undefined;
  for (const [, name = ""] of head.matchAll(/\b([A-Za-z_]\w{0,255})\s{0,99}\(/g))
    if (!attribute.test(name)) return name;
  return undefined;
}

/** Gives functions that change only by what is inlined into them that reason. */
export function withInlineReasons(
  difference: Difference,
  changedInSource: ReadonlySet<string>,
  carriersOf: (inlined: string) => readonly string[],
): { difference: Difference; inlined: InlinedChange[] } {
  const inlined: InlinedChange[] = [];
  const reasons = new Map<string, string[]>();
  for (const name of changedInSource) {
    const carriers = new Set(carriersOf(name).map(symbolWithoutPart));
    const into = difference.changed
      .map(({ patched }) => patched.name)
      .filter((symbol) => carriers.has(symbol));
    if (into.length === 0) continue;
    inlined.push({ name, into });
    for (const symbol of into) reasons.set(symbol, [...(reasons.get(symbol) ?? []), `${name}()`]);
  }
  const changed = difference.changed.map((change): ChangedFunction => {
    const { name } = change.patched;
    const parts = reasons.get(name);
    if (!parts || changedInSource.has(sourceName(name))) return change;
    return {
      ...change,
      reason: `it inlines ${parts.join(", ")}, which ${parts.length === 1 ? "changes" : "change"}`,
    };
  });
  return { difference: { ...difference, changed }, inlined };
}

function symbolWithoutPart(symbol: string): string {
  return symbol.replace(/\.cold(\.\d+)?$/, "");
}
