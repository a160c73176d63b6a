/** Shows the Markdown of this project's documentation in a terminal. */
import type { CommandContext } from "./context.ts";

/** What is pasted into a terminal or a mail keeps its shape at this width. */
const width = 80;

/**
 * Paragraphs and lists are wrapped, code is indented, links that lead into the documentation lose their address.
 *
 * @param text headings, paragraphs, lists, fenced code; no tables
 */
export function renderMarkdown(text: string, style: CommandContext["style"]): string {
  const blocks: string[] = [];
  const lines = text.split("\n");
  let isInList = false;
  for (let at = 0; at < lines.length; ) {
    const line = lines[at]!;
    const fence = /^(```+)/.exec(line)?.[1];
    if (fence !== undefined) {
      const end = lines.findIndex((other, index) => index > at && other.startsWith(fence));
      const code = lines.slice(at + 1, end < 0 ? undefined : end);
      blocks.push(code.map((each) => (each === "" ? "" : `    ${style("cyan", each)}`)).join("\n"));
      at = end < 0 ? lines.length : end + 1;
    } else if (line.startsWith("#")) {
      blocks.push(style("bold", plain(line.replace(/^#+ */, ""))));
      at++;
    } else if (line.trim() === "") at++;
    else {
      const list = /^ *([-*]|\d+\.) /.exec(line);
      // Entries of one list stand together.
      const goesOn = list !== null && isInList && lines[at - 1]!.trim() !== "";
      const indent = list ? list[0].length : 0;
      const paragraph = [line.slice(indent)];
      for (at++; at < lines.length && continues(lines[at]!); at++) paragraph.push(lines[at]!.trim());
      const wrapped = wrap(plain(paragraph.join(" ")), width - indent);
      const first = list ? list[0] : "";
      const block = wrapped
        .map((each, index) => (index === 0 ? first : " ".repeat(indent)) + each)
        .join("\n");
      if (goesOn) blocks[blocks.length - 1] += `\n${block}`;
      else blocks.push(block);
      isInList = list !== null;
    }
  }
  return blocks.join("\n\n");
}

function continues(line: string): boolean {
  return line.trim() !== "" && !/^(#|```| *[-*] | *\d+\. )/.test(line);
}

/** The words without marks: links as their text, with the address where it leads out of the documentation. */
function plain(text: string): string {
  return text
    .replace(/\[([^\]]*)\]\(([^)]*)\)/g, (_all, label: string, address: string) =>
      address.startsWith("http") && address !== label ? `${label} (${address})` : label,
    )
    .replace(/\*\*([^*]+)\*\*/g, "$1")
    .replace(/`([^`]*)`/g, "$1");
}

function wrap(text: string, columns: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(/ +/)) {
    if (line !== "" && line.length + 1 + word.length > columns) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}
