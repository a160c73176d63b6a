import { createHash } from "node:crypto";
import { RekernelError } from "../../../core/errors.ts";

/**
 * Unified diffs, as `git diff`, `git format-patch` and `diff -u` write them.
 * Text is held with one character per byte (latin1), so that what is not UTF-8 stays as it is.
 */
export interface SourcePatch {
  /** What messages call it: the file's name. */
  name: string;
  /** Digest of the patch file, in hexadecimal. */
  sha256: string;
  files: FilePatch[];
}

export interface FilePatch {
  /** Paths as written, before anything is stripped; undefined stands for /dev/null. */
  oldPath: string | undefined;
  newPath: string | undefined;
  hunks: Hunk[];
}

export interface Hunk {
  /** Line of the patch file that holds the `@@`, from 1. */
  at: number;
  oldStart: number;
  newStart: number;
  lines: HunkLine[];
}

export interface HunkLine {
  kind: " " | "-" | "+";
  /** Without the line's end. */
  text: string;
  /** False for the line that "\ No newline at end of file" follows. */
  newline: boolean;
}

/** A patch larger than this is not something to live patch. */
const maximumBytes = 16 * 2 ** 20;

/**
 * @param data the patch file; a string is taken as text, bytes as they are
 * @throws RekernelError RK-PATCH-EMPTY (3), RK-PATCH-MALFORMED (2), RK-PATCH-UNSUPPORTED (4)
 */
export function parsePatch(data: string | Uint8Array, name = "the patch"): SourcePatch {
  const bytes =
    typeof data === "string"
      ? Buffer.from(data, "utf8")
      : Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  if (bytes.length > maximumBytes)
    throw new RekernelError(
      "refused",
      "RK-PATCH-UNSUPPORTED",
      `${name} is larger than ${maximumBytes} bytes.`,
    );
  const lines = bytes.toString("latin1").split("\n");
  if (lines.at(-1) === "") lines.pop();
  // A patch that went through a mail program of another system has CRs everywhere, its headers included.
  if (lines.length > 0 && lines.every((line) => line.endsWith("\r")))
    for (const [i, line] of lines.entries()) lines[i] = line.slice(0, -1);
  const files = new PatchParser(lines, name).parse();
  if (files.length === 0)
    throw new RekernelError("nothingToDo", "RK-PATCH-EMPTY", `${name} holds no change.`, {
      hint: "Give a unified diff, as git diff, git format-patch or diff -u print it.",
    });
  return { name, sha256: createHash("sha256").update(bytes).digest("hex"), files };
}

class PatchParser {
  readonly #lines: string[];
  readonly #name: string;
  #at = 0;

  constructor(lines: string[], name: string) {
    this.#lines = lines;
    this.#name = name;
  }

  parse(): FilePatch[] {
    const files: FilePatch[] = [];
    while (this.#at < this.#lines.length) {
      const line = this.#lines[this.#at]!;
      const next = this.#lines[this.#at + 1] ?? "";
      if (/^(?:rename|copy) from /.test(line) && this.#insideGitHeader())
        throw this.#unsupported(`it renames or copies a file (${line})`);
      if (/^GIT binary patch$|^Binary files .* differ$/.test(line))
        throw this.#unsupported("it changes a binary file");
      if (
        line.startsWith("--- ") &&
        next.startsWith("+++ ") &&
        (this.#lines[this.#at + 2] ?? "").startsWith("@@ ")
      ) {
        const oldPath = this.#path(line.slice(4));
        const newPath = this.#path(next.slice(4));
        if (oldPath === undefined && newPath === undefined) throw this.#malformed("both sides are /dev/null");
        this.#at += 2;
        files.push({ oldPath, newPath, hunks: this.#hunks() });
      } else if (/^@@ -\d/.test(line)) throw this.#malformed("a hunk without the file it belongs to");
      else this.#at++;
    }
    return files;
  }

  #insideGitHeader(): boolean {
    for (let i = this.#at - 1; i >= 0 && i >= this.#at - 6; i--)
      if (this.#lines[i]!.startsWith("diff --git ")) return true;
    return false;
  }

  /** diff -u puts a tab and a time behind the name; git quotes names with unusual bytes. */
  #path(text: string): string | undefined {
    const path = text.startsWith('"') ? this.#unquote(text) : text.split("\t")[0]!.trimEnd();
    if (path === "/dev/null") return undefined;
    if (path === "" || path.startsWith("/") || path.split("/").includes("..") || path.includes("\0"))
      throw this.#malformed(`the file name ${JSON.stringify(path)} does not lie inside a source tree`);
    return path;
  }

  #unquote(text: string): string {
    const inner = /^"((?:[^"\\]|\\.)*)"/.exec(text)?.[1];
    if (inner === undefined) throw this.#malformed("a file name with an open quote");
    const simple: Record<string, string> = {
      n: "\n",
      t: "\t",
      r: "\r",
      a: "\x07",
      b: "\b",
      f: "\f",
      v: "\v",
    };
    return inner.replace(/\\([0-7]{1,3}|.)/g, (_, escaped: string) =>
      /^[0-7]/.test(escaped)
        ? String.fromCharCode(Number.parseInt(escaped, 8) & 0xff)
        : (simple[escaped] ?? escaped),
    );
  }

  #hunks(): Hunk[] {
    const hunks: Hunk[] = [];
    for (;;) {
      const header = this.#lines[this.#at];
      if (header === undefined || !header.startsWith("@@ ")) return hunks;
      const match = /^@@ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@/.exec(header);
      if (!match) throw this.#malformed(`the hunk header “${header}”`);
      const hunk: Hunk = {
        at: this.#at + 1,
        oldStart: Number(match[1]),
        newStart: Number(match[3]),
        lines: [],
      };
      this.#at++;
      this.#hunkLines(hunk, Number(match[2] ?? 1), Number(match[4] ?? 1));
      hunks.push(hunk);
    }
  }

  #hunkLines(hunk: Hunk, oldCount: number, newCount: number): void {
    let oldLeft = oldCount;
    let newLeft = newCount;
    while (oldLeft > 0 || newLeft > 0) {
      const line = this.#lines[this.#at];
      if (line === undefined) throw this.#malformed(`the patch ends inside the hunk of line ${hunk.at}`);
      // Mail programs strip the blank off an empty context line.
      const kind = line === "" ? " " : line[0]!;
      if (kind === "\\") {
        this.#noNewline(hunk);
        continue;
      }
      if (kind !== " " && kind !== "-" && kind !== "+")
        throw this.#malformed(`“${line.slice(0, 40)}” inside a hunk`);
      if (kind !== "+") oldLeft--;
      if (kind !== "-") newLeft--;
      if (oldLeft < 0 || newLeft < 0)
        throw this.#malformed(`the hunk of line ${hunk.at} has other line counts than its header says`);
      hunk.lines.push({ kind, text: line.slice(1), newline: true });
      this.#at++;
    }
    if (this.#lines[this.#at]?.startsWith("\\ ")) this.#noNewline(hunk);
    const rest = this.#lines[this.#at] ?? "";
    if (/^[-+](?![-+]{2} |- ?$)/.test(rest) && !rest.startsWith("-- "))
      throw this.#malformed(`the hunk of line ${hunk.at} is longer than its header says`);
  }

  #noNewline(hunk: Hunk): void {
    const last = hunk.lines.at(-1);
    if (!last) throw this.#malformed("“\\ No newline” without a line before it");
    last.newline = false;
    this.#at++;
  }

  #malformed(what: string): RekernelError {
    return new RekernelError(
      "usage",
      "RK-PATCH-MALFORMED",
      `${this.#name}, line ${this.#at + 1}: ${what}; this is not a well-formed unified diff.`,
      { hint: "Editors and mail programs damage patches: take it from git once more." },
    );
  }

  #unsupported(what: string): RekernelError {
    return new RekernelError(
      "refused",
      "RK-PATCH-UNSUPPORTED",
      `${this.#name}, line ${this.#at + 1}: ${what}, which a live patch cannot do.`,
    );
  }
}

/**
 * The path inside the tree of each file of a patch. One or no leading component is stripped, the same for all files:
 * whichever makes every file that must be there exist.
 *
 * @param exists whether the tree has a file
 * @throws RekernelError RK-PATCH-DOES-NOT-APPLY (1)
 */
export function patchedPaths(
  patch: SourcePatch,
  exists: (path: string) => boolean,
  modules: readonly { folder: string }[] = [],
): string[] {
  const strip = (path: string, level: number): string => path.split("/").slice(level).join("/");
  const created = new Set<string>();
  for (const level of [1, 0]) {
    const paths = patch.files.map((file) => strip((file.newPath ?? file.oldPath)!, level));
    created.clear();
    const fits = patch.files.every((file, i) => {
      if (file.oldPath !== undefined) return paths[i] !== "" && (created.has(paths[i]!) || exists(paths[i]!));
      created.add(paths[i]!);
      const folder = paths[i]!.split("/").slice(0, -1).join("/");
      return paths[i] !== "" && (folder === "" ? level === 1 : exists(folder) || level === 1);
    });
    if (fits) return paths;
  }
  const missing = patch.files
    .filter((file) => file.oldPath !== undefined)
    .map((file) => file.oldPath!)
    .find((path) => !exists(strip(path, 1)) && !exists(strip(path, 0)));
  throw new RekernelError(
    "failed",
    "RK-PATCH-DOES-NOT-APPLY",
    missing === undefined
      ? `${patch.name}: its file names do not fit the source tree, neither as they are nor with the first folder left out.`
      : `${patch.name}: ${["the source tree", ...modules.map(({ folder }) => folder)].join(" and ")} ${modules.length > 0 ? "have" : "has"} no file ${strip(missing, 1)}.`,
    {
      hint: `Make the patch at the top of the ${modules.length > 0 ? "module's source or of the " : ""}kernel's source tree, with git diff or diff -u.`,
    },
  );
}
