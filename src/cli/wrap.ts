import { stripVTControlCharacters } from "node:util";

/** What source text of a hint ends with, and a preprocessor's line starts with. */
const isCode = (line: string) => /[;{}\\]$|^\s*#/.test(line);

/**
 * Breaks lines that are longer than the terminal is wide between words; what follows stands under the line's start.
 * Text for a pipe stays as it is, so that programs find a message in one line.
 *
 * @param text lines, coloured or not; lines of C keep their shape
 * @param stream where the text goes
 */
export function wrapFor(stream: { isTTY?: boolean; columns?: number }, text: string): string {
  const { isTTY, columns } = stream;
  // A terminal that does not tell its width has 0 columns.
  if (isTTY !== true || !columns || columns < 20) return text;
  return text
    .split("\n")
    .map((line) => (isCode(stripVTControlCharacters(line)) ? line : wrapLine(line, columns)))
    .join("\n");
}

function wrapLine(text: string, columns: number): string {
  const shown = stripVTControlCharacters(text);
  if (shown.length <= columns) return text;
  const indent = /^ */.exec(shown)![0];
  const lines: string[] = [];
  let line = "";
  let width = 0;
  // Blanks that align columns stay within their line.
  for (const [, blanks, word] of text.matchAll(/( *)([^ ]+)/g)) {
    const wordWidth = stripVTControlCharacters(word!).length;
    if (width > indent.length && width + blanks!.length + wordWidth > columns) {
      lines.push(line);
      line = indent + word;
      width = indent.length + wordWidth;
    } else {
      line += blanks! + word;
      width += blanks!.length + wordWidth;
    }
  }
  return [...lines, line].join("\n");
}
