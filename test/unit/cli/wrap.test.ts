import { stripVTControlCharacters } from "node:util";
import fc from "fast-check";
import { expect, test } from "vitest";
import { wrapFor } from "../../../src/cli/wrap.ts";

const terminal = { isTTY: true, columns: 30 };
const words = "one two three four five six seven eight nine";

test("lines are broken between words, under their own start", () => {
  expect(wrapFor(terminal, `${words}\n\n    ${words}`)).toBe(
    "one two three four five six\nseven eight nine\n\n    one two three four five\n    six seven eight nine",
  );
});

test("nothing is broken in a pipe, nor where a terminal does not tell its width", () => {
  for (const stream of [{}, { columns: 30 }, { isTTY: true }, { isTTY: true, columns: 0 }])
    expect(wrapFor(stream, words)).toBe(words);
});

test("words that are longer, lines of C and short lines stay as they are", () => {
  const text = `${"x".repeat(40)}\n  ${"y".repeat(40)}\nName    value\n#include <rekernel/livepatch-and-more.h>\nstatic int set_limit(struct klp_object *obj) { return 0; }`;
  expect(wrapFor(terminal, text)).toBe(text);
});

test("colours take no room", () => {
  const red = (text: string) => `\u001b[31m${text}\u001b[39m`;
  const coloured = words.replace("five", red("five"));
  expect(stripVTControlCharacters(wrapFor(terminal, coloured))).toBe(wrapFor(terminal, words));
  expect(wrapFor(terminal, coloured)).toContain(red("five"));
  expect(stripVTControlCharacters(wrapFor(terminal, red(`    ${words}`)))).toBe(
    wrapFor(terminal, `    ${words}`),
  );
});

test("no word is lost, and no line is longer than its terminal that could be shorter", () => {
  const line = fc.string({ unit: fc.constantFrom(..."ab  "), maxLength: 200 });
  fc.assert(
    fc.property(line, fc.integer({ min: 20, max: 90 }), (text, columns) => {
      const wrapped = wrapFor({ isTTY: true, columns }, text);
      expect(wrapped.match(/\S+/g)).toEqual(text.match(/\S+/g));
      for (const each of wrapped.split("\n"))
        expect(each.length <= columns || /^ *\S+ *$/.test(each) || !/\S/.test(each), each).toBe(true);
    }),
  );
});
