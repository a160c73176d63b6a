/**
 * GRUB's menu: what grub.cfg makes of it when GRUB runs it (GRUB manual, "Shell-like scripting" and "Commands").
 * Pure: files are given as functions.
 */
import { parseGrubScript, type Statement, type Word } from "./script.ts";
import { grubTest } from "./test-command.ts";

/** A menu entry, or a submenu with entries of its own. */
export interface GrubEntry {
  title: string;
  id: string;
  /** Of a submenu. */
  children?: GrubEntry[];
  /** What the entry's kernel command loads; undefined for entries that start no Linux. */
  kernel?: GrubKernel;
}

export interface GrubKernel {
  /** As GRUB names it: with a device in parentheses, or relative to the root of the partition that GRUB reads. */
  image: string;
  initrds: string[];
  commandLine: string;
}

/** An entry that the command blscfg brings: a file of the Boot Loader Specification; variables are not expanded. */
export interface GrubSnippet {
  id: string;
  title: string;
  image: string;
  initrds: readonly string[];
  options: string;
}

export interface GrubInputs {
  /** Variables as they are before the script runs, those of grubenv included only in `environment`. */
  variables: Readonly<Record<string, string>>;
  /** What `load_env` brings. */
  environment: ReadonlyMap<string, string>;
  /** The text of a file that GRUB names; undefined where it is not there. */
  read(path: string): string | undefined;
  isThere(path: string): boolean;
  /** What `blscfg` adds, newest first. */
  snippets(): readonly GrubSnippet[];
}

export interface GrubMenu {
  entries: GrubEntry[];
  /** The variable `default` at the end: undefined where it was never set. */
  default: string | undefined;
}

const maxCommands = 50_000;
const maxEntries = 1000;
const maxCalls = 16;
const maxSourced = 32;
const maxText = 64 * 1024;

/**
 * Runs a grub.cfg as far as its menu. Commands that are not known do nothing; as conditions they are false.
 *
 * @param name the file, for messages
 * @throws RekernelError RK-BOOT-CONFIG (1) where the script cannot be read
 */
export function grubMenu(text: string, name: string, inputs: GrubInputs): GrubMenu {
  const run = new Run(inputs);
  run.execute(parseGrubScript(text, name), []);
  return { entries: run.entries, default: run.variables.get("default") };
}

class Run {
  readonly variables: Map<string, string>;
  entries: GrubEntry[] = [];
  readonly #inputs: GrubInputs;
  readonly #functions = new Map<string, readonly Statement[]>();
  #commands = 0;
  #entryCount = 0;
  #calls = 0;
  #sourced = 0;
  /** While an entry's own commands run: what they load. */
  #loading: Partial<GrubKernel> | undefined;

  constructor(inputs: GrubInputs) {
    this.#inputs = inputs;
    this.variables = new Map(Object.entries(inputs.variables));
  }

  /** Runs statements and tells whether the last one succeeded. */
  execute(statements: readonly Statement[], args: readonly string[]): boolean {
    let success = true;
    for (const statement of statements) {
      // A script that goes on for ever is left where it is.
      if (++this.#commands > maxCommands) return false;
      success = statement.kind === "if" ? this.#if(statement, args) : this.#command(statement, args);
    }
    return success;
  }

  #if({ branches, otherwise }: Statement & { kind: "if" }, args: readonly string[]): boolean {
    for (const { condition, body } of branches)
      if (this.execute(condition, args)) return this.execute(body, args);
    return this.execute(otherwise, args);
  }

  #command({ words, body }: Statement & { kind: "command" }, args: readonly string[]): boolean {
    const [command = "", ...rest] = words.flatMap((word) => this.#expand(word, args));
    const assignment = /^([a-zA-Z_][a-zA-Z0-9_]*)=([\s\S]*)$/.exec(command);
    if (assignment) return this.#set(assignment[1]!, assignment[2]!);
    const own = this.#functions.get(command);
    if (own !== undefined) return this.#call(() => this.execute(own, rest));
    switch (command) {
      case "set": {
        const [, name, value] = /^([^=]+)=([\s\S]*)$/.exec(rest[0] ?? "") ?? [];
        return name === undefined || this.#set(name, value!);
      }
      case "unset":
        for (const name of rest) this.variables.delete(name);
        return true;
      case "function":
        if (rest[0] !== undefined && body !== undefined) this.#functions.set(rest[0], body);
        return true;
      case "menuentry":
      case "submenu":
        return body === undefined || this.#entry(command, rest, body);
      case "load_env":
        // Another file than grubenv holds what nothing here asks for.
        if (!rest.some((word) => /^(-f|--file)/.test(word)))
          for (const [name, value] of this.#inputs.environment)
            if (rest.length === 0 || rest.includes(name)) this.variables.set(name, value);
        return true;
      case "blscfg":
      case "bls_import":
        this.#snippets();
        return true;
      case "source":
      case ".":
      case "configfile":
        return this.#source(rest[0] ?? "", args);
      case "linux":
      case "linux16":
      case "linuxefi":
        if (this.#loading !== undefined && rest[0] !== undefined) {
          this.#loading.image = rest[0];
          this.#loading.commandLine = rest.slice(1).join(" ");
        }
        return true;
      case "initrd":
      case "initrd16":
      case "initrdefi":
        if (this.#loading !== undefined) this.#loading.initrds = rest;
        return true;
      case "[":
        return grubTest(rest.at(-1) === "]" ? rest.slice(0, -1) : rest, this.#inputs.isThere);
      case "test":
        return grubTest(rest, this.#inputs.isThere);
      case "true":
      case "insmod":
      case "export":
      case "search":
        return true;
      default:
        return false;
    }
  }

  #set(name: string, value: string): boolean {
    this.variables.set(name, value.slice(0, maxText));
    return true;
  }

  #call(work: () => boolean): boolean {
    if (this.#calls >= maxCalls) return false;
    this.#calls++;
    try {
      return work();
    } finally {
      this.#calls--;
    }
  }

  #source(path: string, args: readonly string[]): boolean {
    const text = path === "" || ++this.#sourced > maxSourced ? undefined : this.#inputs.read(path);
    return text !== undefined && this.#call(() => this.execute(parseGrubScript(text, path), args));
  }

  #entry(command: string, words: readonly string[], body: readonly Statement[]): boolean {
    if (++this.#entryCount > maxEntries) return false;
    const { title, id } = entryNames(words);
    const entry: GrubEntry = { title, id: id ?? title };
    this.entries.push(entry);
    // What an entry sets is its own, and GRUB runs it only when it is chosen.
    const outer = { entries: this.entries, loading: this.#loading, variables: new Map(this.variables) };
    this.entries = [];
    this.#loading = {};
    this.variables.set("chosen", entry.id);
    this.#call(() => this.execute(body, []));
    if (command === "submenu") entry.children = this.entries;
    else if (this.#loading.image !== undefined)
      entry.kernel = {
        image: this.#loading.image,
        initrds: this.#loading.initrds ?? [],
        commandLine: this.#loading.commandLine ?? "",
      };
    this.entries = outer.entries;
    this.#loading = outer.loading;
    this.variables.clear();
    for (const [name, value] of outer.variables) this.variables.set(name, value);
    return true;
  }

  #snippets(): void {
    for (const { id, title, image, initrds, options } of this.#inputs.snippets()) {
      if (++this.#entryCount > maxEntries) return;
      this.entries.push({
        title,
        id,
        kernel: {
          image,
          initrds: initrds
            .flatMap((words) => this.#substitute(words).split(/\s+/))
            .filter((path) => path !== ""),
          commandLine: this.#substitute(options).trim(),
        },
      });
    }
  }

  /** Variables in a snippet's value, as blscfg puts them in. */
  #substitute(value: string): string {
    return value
      .replace(/\$\{?([a-zA-Z_][a-zA-Z0-9_]*)\}?/g, (_, name: string) => this.variables.get(name) ?? "")
      .slice(0, maxText);
  }

  /** The words that one word of the script becomes: white space of unquoted variables splits it. */
  #expand(word: Word, args: readonly string[]): string[] {
    let words: string[] = [];
    let current: string | undefined;
    for (const { text, variable, quoted } of word) {
      const value = (text ?? this.#value(variable!, args)).slice(0, maxText);
      if (text !== undefined || quoted) current = (current ?? "") + value;
      else {
        const [first = "", ...more] = value.split(/\s+/);
        if (value !== "") current = (current ?? "") + first;
        for (const next of more) {
          if (current) words.push(current);
          current = next === "" ? undefined : next;
        }
      }
      if (words.length > 4096) words = words.slice(0, 4096);
    }
    if (current !== undefined) words.push(current.slice(0, maxText));
    return words;
  }

  #value(name: string, args: readonly string[]): string {
    if (/^[1-9]$/.test(name)) return args[Number(name) - 1] ?? "";
    if (name === "*" || name === "@") return args.join(" ");
    return this.variables.get(name) ?? "";
  }
}

/** The words behind `menuentry`: a title, options with a value (`--class debian`), and the id. */
function entryNames(words: readonly string[]): { title: string; id: string | undefined } {
  let title: string | undefined;
  let id: string | undefined;
  for (let i = 0; i < words.length; i++) {
    const [, option, value] = /^--([a-z]+)(?:=([\s\S]*))?$/.exec(words[i]!) ?? [];
    if (option === undefined) title ??= words[i]!;
    else if (option !== "unrestricted") {
      const given = value ?? words[++i] ?? "";
      if (option === "id") id = given;
    }
  }
  return { title: title ?? "", id };
}
