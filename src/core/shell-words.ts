import { RekernelError } from "./errors.ts";

/**
 * Splits a command as a POSIX shell does, for commands that use nothing but quoting.
 *
 * @throws RekernelError RK-BAD-COMMAND (1) on anything that a shell would expand or run (`$`, `;`, `|`, `*` …)
 */
export function splitShellWords(command: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let i = 0;
  const refuse = (what: string): never => {
    throw new RekernelError("failed", "RK-BAD-COMMAND", `Cannot split this command: ${what} at ${i}.`, {
      details: command.slice(0, 2000),
    });
  };
  while (i < command.length) {
    const c = command[i]!;
    if (c === " " || c === "\t" || c === "\n") {
      if (word !== undefined) words.push(word);
      word = undefined;
      i++;
    } else if (c === "'") {
      const end = command.indexOf("'", i + 1);
      if (end < 0) refuse("an open quote");
      word = (word ?? "") + command.slice(i + 1, end);
      i = end + 1;
    } else if (c === '"') {
      word ??= "";
      for (i++; command[i] !== '"'; i++) {
        if (i >= command.length) refuse("an open quote");
        if (command[i] === "$" || command[i] === "`") refuse("an expansion");
        if (command[i] === "\\" && /["\\$`]/.test(command[i + 1] ?? "")) i++;
        word += command[i];
      }
      i++;
    } else if (c === "\\") {
      if (i + 1 >= command.length) refuse("a trailing backslash");
      word = (word ?? "") + command[i + 1];
      i += 2;
    } else if (/[$`;|&<>()*?[#~{}!]/.test(c) && !(word !== undefined && /[#~{}!]/.test(c))) {
      refuse(`the shell character ${c}`);
    } else {
      word = (word ?? "") + c;
      i++;
    }
  }
  if (word !== undefined) words.push(word);
  return words;
}
