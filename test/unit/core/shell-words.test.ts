import { execFileSync } from "node:child_process";
import fc from "fast-check";
import { expect, test } from "vitest";
import { RekernelError } from "../../../src/core/errors.ts";
import { splitShellWords } from "../../../src/core/shell-words.ts";

test("splits what kbuild quotes", () => {
  expect(splitShellWords(`gcc  -DA='"x y"' -DB="\\"q\\"" a\\ b ''`)).toEqual([
    "gcc",
    '-DA="x y"',
    '-DB="q"',
    "a b",
    "",
  ]);
});

test.each(["a $b", "a; b", "a `b`", "a | b", "a > b", "'open", '"$x"', "*.c", "a \\"])(
  "refuses %s",
  (text) => {
    expect(() => splitShellWords(text)).toThrow(RekernelError);
  },
);

test("agrees with a shell on whatever it takes", () => {
  const piece = fc.constantFrom("a", "-b=", "'", '"', "\\", " ", "\t", "x/y", "~", "#", "=", ",", "%", "@");
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
      const text = pieces.join("");
      let words: string[];
      try {
        words = splitShellWords(text);
      } catch (error) {
        if (error instanceof RekernelError) return;
        throw error;
      }
      const shell = execFileSync("sh", ["-c", `printf '%s\\0' ${text}`], { encoding: "utf8" });
      expect(words).toEqual(words.length === 0 ? [] : shell.split("\0").slice(0, -1));
    }),
    { numRuns: 200 },
  );
});
