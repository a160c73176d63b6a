import { joinLines, type SourceLine } from "./apply.ts";

/**
 * The text of a patched file with `#line` directives after each place where lines came or went, so that __LINE__ has
 * the value it has in the unpatched file. Without them every WARN, BUG and ASSERT below a change would differ.
 *
 * A directive is put only where the preprocessor takes one for certain: between lines that are not inside a comment,
 * a string, a continued line, a directive, or parentheses (which may be the arguments of a macro).
 */
export function withLineDirectives(lines: readonly SourceLine[]): string {
  const safe = safeLineStarts(lines.map((line) => line.text));
  const result: SourceLine[] = [];
  // The number that the compiler gives to the next line.
  let number = 1;
  for (const [i, line] of lines.entries()) {
    if (line.origin !== undefined && line.origin !== number && safe[i]) {
      result.push({ text: `#line ${line.origin}`, newline: true, origin: undefined });
      number = line.origin;
    }
    result.push(line);
    number++;
  }
  return joinLines(result);
}

/** For each line, whether a directive may stand before it. */
export function safeLineStarts(lines: readonly string[]): boolean[] {
  const scanner = new LineScanner();
  return lines.map((line) => {
    const safe = scanner.atSafePoint() && !/^\s*\(/.test(line);
    scanner.take(line);
    return safe;
  });
}

/** Just enough of C's lexical structure to know what a line begins inside of. */
class LineScanner {
  #inComment = false;
  /** The quote of a string that a backslash at the line's end continues. */
  #quote: string | undefined;
  #continued = false;
  #inDirective = false;
  #inLineComment = false;
  #depth = 0;
  /** Depth at each open #if: every branch begins with it. */
  readonly #branches: number[] = [];

  atSafePoint(): boolean {
    return !this.#inComment && !this.#continued && this.#depth === 0;
  }

  take(line: string): void {
    const text = line.endsWith("\r") ? line.slice(0, -1) : line;
    if (!this.#continued) {
      this.#inLineComment = false;
      this.#inDirective = false;
      this.#quote = undefined;
      const directive = this.#inComment ? null : /^\s*(?:#|%:)\s*(\w*)/.exec(text);
      if (directive) {
        this.#inDirective = true;
        this.#branch(directive[1]!);
      }
    }
    this.#scan(text);
    this.#continued = text.endsWith("\\");
  }

  #branch(name: string): void {
    if (name === "if" || name === "ifdef" || name === "ifndef") this.#branches.push(this.#depth);
    else if (name === "else" || name.startsWith("elif")) this.#depth = this.#branches.at(-1) ?? this.#depth;
    else if (name === "endif") this.#branches.pop();
  }

  #scan(text: string): void {
    for (let i = 0; i < text.length; i++) {
      const c = text[i]!;
      if (this.#inComment) {
        if (c === "*" && text[i + 1] === "/") {
          this.#inComment = false;
          i++;
        }
      } else if (this.#inLineComment) return;
      else if (this.#quote !== undefined) {
        if (c === "\\") i++;
        else if (c === this.#quote) this.#quote = undefined;
      } else if (c === "/" && text[i + 1] === "*") {
        this.#inComment = true;
        i++;
      } else if (c === "/" && text[i + 1] === "/") this.#inLineComment = true;
      else if (c === '"' || (c === "'" && !(this.#inDirective && !text.includes("'", i + 1))))
        this.#quote = c;
      // Parentheses in a directive (the body of a macro) need not balance, and end with it.
      else if (!this.#inDirective) {
        if (c === "(") this.#depth++;
        else if (c === ")") this.#depth = Math.max(0, this.#depth - 1);
      }
    }
  }
}
