/**
 * The language of grub.cfg (GRUB manual, "Writing full configuration files directly"): text to statements. Pure.
 *
 * Loops are read and left out; grub-mkconfig writes none.
 */
import { RekernelError } from "../../core/errors.ts";

/** A piece of a word: text, or a variable by its name. */
export interface WordPart {
  text?: string;
  variable?: string;
  /** Within quotes: white space in a variable's value does not split the word. */
  quoted: boolean;
}

export type Word = readonly WordPart[];

export type Statement =
  | { kind: "command"; words: readonly Word[]; body?: readonly Statement[] }
  | {
      kind: "if";
      branches: readonly { condition: readonly Statement[]; body: readonly Statement[] }[];
      otherwise: readonly Statement[];
    };

const maxDepth = 64;

type Token = { kind: "word"; parts: WordPart[]; line: number } | { kind: "end"; line: number };

/**
 * @param name the file, for messages
 * @throws RekernelError RK-BOOT-CONFIG (1) where a quote or a block is not closed, or blocks are nested too deep
 */
export function parseGrubScript(text: string, name: string): Statement[] {
  const parser = new Parser([...tokens(text, name)], name);
  return parser.statements([], 0);
}

class Parser {
  readonly #tokens: readonly Token[];
  readonly #name: string;
  #at = 0;

  constructor(list: readonly Token[], name: string) {
    this.#tokens = list;
    this.#name = name;
  }

  /** Statements up to one of the words in `ends`, which is consumed by the caller, or to the end of the text. */
  statements(ends: readonly string[], depth: number): Statement[] {
    if (depth > maxDepth) throw this.#bad("blocks are nested too deep");
    const found: Statement[] = [];
    for (;;) {
      const token = this.#tokens[this.#at];
      if (token === undefined) {
        if (ends.length > 0) throw this.#bad(`“${ends.join("” or “")}” is missing at the end`);
        return found;
      }
      if (token.kind === "end") {
        this.#at++;
        continue;
      }
      const word = keyword(token);
      if (word !== undefined && ends.includes(word)) return found;
      const statement = this.#statement(word, depth);
      if (statement !== undefined) found.push(statement);
    }
  }

  #statement(word: string | undefined, depth: number): Statement | undefined {
    if (word === "if") return this.#if(depth);
    if (word === "while" || word === "until" || word === "for") {
      this.#at++;
      this.statements(["do"], depth + 1);
      this.#at++;
      this.statements(["done"], depth + 1);
      this.#at++;
      return undefined;
    }
    if (word === "}") throw this.#bad("a “}” closes nothing");
    return this.#command(depth);
  }

  #if(depth: number): Statement {
    const branches: { condition: Statement[]; body: Statement[] }[] = [];
    for (;;) {
      this.#at++;
      const condition = this.statements(["then"], depth + 1);
      this.#at++;
      branches.push({ condition, body: this.statements(["elif", "else", "fi"], depth + 1) });
      if (this.#keyword() !== "elif") break;
    }
    let otherwise: Statement[] = [];
    if (this.#keyword() === "else") {
      this.#at++;
      otherwise = this.statements(["fi"], depth + 1);
    }
    this.#at++;
    return { kind: "if", branches, otherwise };
  }

  #command(depth: number): Statement {
    const words: Word[] = [];
    for (let token = this.#tokens[this.#at]; token?.kind === "word"; token = this.#tokens[this.#at]) {
      const word = keyword(token);
      if (word === "}") break;
      this.#at++;
      if (word === "{") {
        const body = this.statements(["}"], depth + 1);
        this.#at++;
        return { kind: "command", words, body };
      }
      words.push(token.parts);
    }
    return { kind: "command", words };
  }

  #keyword(): string | undefined {
    const token = this.#tokens[this.#at];
    return token?.kind === "word" ? keyword(token) : undefined;
  }

  #bad(reason: string): RekernelError {
    return badScript(
      this.#name,
      this.#tokens[Math.min(this.#at, this.#tokens.length - 1)]?.line ?? 1,
      reason,
    );
  }
}

function badScript(name: string, line: number, reason: string): RekernelError {
  return new RekernelError("failed", "RK-BOOT-CONFIG", `Cannot read ${name}, line ${line}: ${reason}.`, {
    hint: "Write it again (update-grub, or grub2-mkconfig -o FILE), or name the kernel: rekernel kexec load VMLINUZ",
  });
}

/** A word without quotes and variables, which alone can be a keyword or a brace. */
function keyword(token: Token & { kind: "word" }): string | undefined {
  const [part] = token.parts;
  return token.parts.length === 1 && part?.quoted === false ? part.text : undefined;
}

function* tokens(text: string, name: string): Generator<Token> {
  let line = 1;
  let parts: WordPart[] | undefined;
  let at = 0;
  const add = (value: string, quoted: boolean) => {
    parts ??= [];
    const last = parts.at(-1);
    if (last?.text !== undefined && last.quoted === quoted) last.text += value;
    else parts.push({ text: value, quoted });
  };
  /** A variable at `at`, which points behind the dollar. */
  const addVariable = (quoted: boolean) => {
    variable.lastIndex = at;
    const found = variable.exec(text);
    if (found === null) return add("$", quoted);
    at += found[0].length;
    parts ??= [];
    parts.push({ variable: found[1] ?? found[2]!, quoted });
  };
  while (at < text.length) {
    const character = text[at++]!;
    if (/[\s;|&]/.test(character)) {
      if (parts !== undefined) yield { kind: "word", parts, line };
      parts = undefined;
      if (/[\n;|&]/.test(character)) yield { kind: "end", line };
      if (character === "\n") line++;
    } else if (character === "#" && parts === undefined) {
      const end = text.indexOf("\n", at);
      at = end < 0 ? text.length : end;
    } else if ((character === "{" || character === "}") && parts === undefined) {
      yield { kind: "word", parts: [{ text: character, quoted: false }], line };
    } else if (character === "\\") {
      if (text[at] === "\n") line++;
      else add(text[at] ?? "", true);
      at++;
    } else if (character === "'") {
      const end = text.indexOf("'", at);
      if (end < 0) throw badScript(name, line, "a quote is not closed");
      const value = text.slice(at, end);
      add(value, true);
      line += value.split("\n").length - 1;
      at = end + 1;
    } else if (character === '"') {
      add("", true);
      const begin = line;
      for (; text[at] !== '"'; ) {
        if (at >= text.length) throw badScript(name, begin, "a quote is not closed");
        const inner = text[at++]!;
        if (inner === "\n") line++;
        if (inner === "\\" && /["$\\\n]/.test(text[at] ?? "")) {
          if (text[at] !== "\n") add(text[at]!, true);
          else line++;
          at++;
        } else if (inner === "$") addVariable(true);
        else add(inner, true);
      }
      at++;
    } else if (character === "$") addVariable(false);
    else add(character, false);
  }
  if (parts !== undefined) yield { kind: "word", parts, line };
  yield { kind: "end", line };
}

const variable = /\{([^{}\s]{1,100})\}|([a-zA-Z_][a-zA-Z0-9_]*|[0-9?@*#])/y;
