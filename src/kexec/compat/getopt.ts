/** The rules by which the GNU C library's getopt_long(3) reads a command line. Pure. */

export interface LongOption {
  name: string;
  /** Takes a value, as `--name=value` or as the next word. */
  value: boolean;
  /** The letter or name under which it is reported: several spellings can stand for one option. */
  key: string;
}

/** What one word of the command line turned out to be; `error` is what getopt_long prints behind the program's name. */
export type ParsedWord =
  | { kind: "option"; key: string; value: string | undefined }
  | { kind: "operand"; text: string }
  | { kind: "error"; message: string };

/**
 * Reads words one by one, as getopt_long does with operands between the options: letters may be joined
 * (`-lx`), a letter's value may stick to it (`-tbzImage`), long names may be cut off where that leaves no
 * doubt, and behind `--` everything is an operand. Lazy, because a program acts on each option before it
 * reads the next: `-h --nonsense` is a call for help.
 *
 * @param letters as in getopt(3): a colon behind a letter that takes a value
 */
export function* getoptLong(
  words: readonly string[],
  letters: string,
  longOptions: readonly LongOption[],
): Generator<ParsedWord> {
  for (let at = 0; at < words.length; at++) {
    const word = words[at]!;
    if (word === "--") {
      for (const text of words.slice(at + 1)) yield { kind: "operand", text };
      return;
    }
    if (word.startsWith("--")) {
      const [name, given] = splitAtEquals(word.slice(2));
      const option = findLong(name, word, longOptions);
      if (typeof option === "string") yield { kind: "error", message: option };
      else if (!option.value)
        yield given === undefined
          ? { kind: "option", key: option.key, value: undefined }
          : { kind: "error", message: `option '--${option.name}' doesn't allow an argument` };
      else {
        const value = given ?? words[++at];
        yield value === undefined
          ? { kind: "error", message: `option '--${option.name}' requires an argument` }
          : { kind: "option", key: option.key, value };
      }
    } else if (word.startsWith("-") && word !== "-") {
      for (let letterAt = 1; letterAt < word.length; letterAt++) {
        const letter = word[letterAt]!;
        const known = letter === ":" ? -1 : letters.indexOf(letter);
        if (known < 0) yield { kind: "error", message: `invalid option -- '${letter}'` };
        else if (letters[known + 1] !== ":") yield { kind: "option", key: letter, value: undefined };
        else {
          const value = letterAt + 1 < word.length ? word.slice(letterAt + 1) : words[++at];
          yield value === undefined
            ? { kind: "error", message: `option requires an argument -- '${letter}'` }
            : { kind: "option", key: letter, value };
          break;
        }
      }
    } else yield { kind: "operand", text: word };
  }
}

function splitAtEquals(text: string): [string, string | undefined] {
  const equals = text.indexOf("=");
  return equals < 0 ? [text, undefined] : [text.slice(0, equals), text.slice(equals + 1)];
}

/** The option that a name, whole or cut off, stands for; else the complaint. */
function findLong(name: string, word: string, options: readonly LongOption[]): LongOption | string {
  const whole = options.find((option) => option.name === name);
  if (whole !== undefined) return whole;
  const possible = options.filter((option) => option.name.startsWith(name));
  const [first] = possible;
  if (first === undefined) return `unrecognized option '${word}'`;
  if (possible.every(({ key, value }) => key === first.key && value === first.value)) return first;
  return `option '${word}' is ambiguous; possibilities: ${possible.map((option) => `'--${option.name}'`).join(" ")}`;
}
