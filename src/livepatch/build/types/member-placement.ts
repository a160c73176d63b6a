/**
 * Declares a new member of a structure where bytes lie unused in it, so that the others stay where they are: what
 * distributions do by hand to keep a kernel's ABI. Works on the text of a source file.
 */

export interface MemberPlacement {
  /** "struct foo" */
  structure: string;
  member: string;
  /** The member in front of the unused bytes. */
  behind: string;
}

/**
 * The text with the member's declaration moved, every line where it was; undefined where the text does not hold the
 * structure, or its declarations are not plain enough to be certain.
 */
export function withMemberPlaced(text: string, placement: MemberPlacement): string | undefined {
  const code = withoutCommentsAndStrings(text);
  const [keyword, name] = placement.structure.split(" ");
  const starts = [...code.matchAll(new RegExp(`\\b${keyword}\\s+${name}\\s*\\{`, "g"))];
  const start = starts[0];
  if (starts.length !== 1 || !start) return undefined;
  const declarations = declarationsIn(code, start.index + start[0].length);
  const isOf = (wanted: string) => (declaration: Declaration) =>
    new RegExp(
      `[\\s*]${wanted}\\s*(?:\\[[^\\]]*\\]\\s*)*(?::[^,;]*)?(?:__\\w+(?:\\([^,;]*\\))?\\s*)*;$`,
    ).test(` ${code.slice(declaration.start, declaration.end)}`);
  const own = declarations?.find(isOf(placement.member));
  const front = declarations?.find(isOf(placement.behind));
  if (!own || !front || own === front || own.conditional || front.conditional) return undefined;
  const declaration = code.slice(own.start, own.end);
  if (/[,{}]/.test(declaration)) return undefined;
  const inserted = ` ${declaration.replace(/\s+/g, " ")}`;
  const blank = declaration.replace(/[^\n]/g, " ");
  const cut = (from: string) => from.slice(0, own.start) + blank + from.slice(own.end);
  // The later place first: offsets of the earlier one stay as they are.
  return own.start > front.end
    ? insert(cut(text), front.end, inserted)
    : cut(insert(text, front.end, inserted));
}

function insert(text: string, at: number, what: string): string {
  return text.slice(0, at) + what + text.slice(at);
}

interface Declaration {
  /** Of the first word; `end` is behind the semicolon. */
  start: number;
  end: number;
  /** Within #if. */
  conditional: boolean;
}

/** Undefined where the braces do not close. */
function declarationsIn(code: string, from: number): Declaration[] | undefined {
  const declarations: Declaration[] = [];
  let depth = 1;
  let conditions = 0;
  let start = from;
  for (let at = from; at < code.length; at++) {
    const directive = code[at] === "#" ? /^#[ \t]*(\w*)[^\n]*/.exec(code.slice(at, at + 400)) : null;
    if (directive) {
      if (directive[1]?.startsWith("if")) conditions++;
      if (directive[1] === "endif") conditions--;
      at += directive[0].length - 1;
      if (depth === 1) start = at + 1;
    } else if (code[at] === "{") depth++;
    else if (code[at] === "}" && --depth === 0) return declarations;
    else if (code[at] === ";" && depth === 1) {
      const leading = /^\s*/.exec(code.slice(start, at))![0].length;
      declarations.push({ start: start + leading, end: at + 1, conditional: conditions > 0 });
      start = at + 1;
    }
  }
  return undefined;
}

const commentOrString =
  /\/\*[\s\S]*?(?:\*\/|$)|\/\/[^\n]*|"(?:\\[\s\S]|[^"\\\n])*"?|'(?:\\[\s\S]|[^'\\\n])*'?/g;

/** Each of the same length. */
function withoutCommentsAndStrings(text: string): string {
  return text.replace(commentOrString, (found) => found.replace(/[^\n]/g, " "));
}
