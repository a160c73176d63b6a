/**
 * Structures, unions and enumerations that a patch changes. Objects of them live in the running kernel, laid out as
 * before: functions that see them laid out otherwise would read and write the wrong places.
 */

/**
 * Definitions that both versions of a source file have, and that differ in more than comments and white space.
 *
 * @returns names as C has them: "struct sock", "enum zone_type"; members added behind all others of an enumeration
 *          change nothing for those that exist, and are left out
 */
export function changedTypes(before: string, after: string): string[] {
  const old = typeDefinitions(before);
  const now = typeDefinitions(after);
  return [...old].flatMap(([name, body]) => {
    const other = now.get(name);
    if (other === undefined || other === body) return [];
    const isGrownEnum =
      name.startsWith("enum ") && other.startsWith(body.replace(/ ?,? ?$/, "")) && !other.includes("=");
    return isGrownEnum ? [] : [name];
  });
}

/** Definitions with a name of their own; an unnamed one takes that of its typedef. Bodies as tokens with one space between. */
function typeDefinitions(source: string): Map<string, string> {
  const tokens = tokensOf(source);
  const definitions = new Map<string, string>();
  for (let at = 0; at < tokens.length; at++) {
    const keyword = tokens[at]!;
    if (keyword !== "struct" && keyword !== "union" && keyword !== "enum") continue;
    const named = /^[A-Za-z_]\w*$/.test(tokens[at + 1] ?? "") && tokens[at + 2] === "{";
    const open = named ? at + 2 : tokens[at + 1] === "{" ? at + 1 : -1;
    if (open < 0) continue;
    let depth = 0;
    let close = open;
    for (; close < tokens.length; close++) {
      if (tokens[close] === "{") depth++;
      if (tokens[close] === "}" && --depth === 0) break;
    }
    const name = named ? tokens[at + 1] : tokens[at - 1] === "typedef" ? tokens[close + 1] : undefined;
    if (name !== undefined) definitions.set(`${keyword} ${name}`, tokens.slice(open + 1, close).join(" "));
  }
  return definitions;
}

const token =
  /\/\*[\s\S]*?(?:\*\/|$)|\/\/[^\n]*|"(?:\\[\s\S]|[^"\\\n])*"?|'(?:\\[\s\S]|[^'\\\n])*'?|[A-Za-z_]\w*|\d[\w.]*|\S/g;

function tokensOf(source: string): string[] {
  return [...source.matchAll(token)]
    .map(([text]) => text)
    .filter((text) => !text.startsWith("/*") && !text.startsWith("//"));
}
