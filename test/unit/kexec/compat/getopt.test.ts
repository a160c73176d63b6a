import fc from "fast-check";
import { expect, test } from "vitest";
import { getoptLong } from "../../../../src/kexec/compat/getopt.ts";

const long = [
  { name: "load", value: false, key: "l" },
  { name: "load-panic", value: false, key: "p" },
  { name: "mem-min", value: true, key: "mem-min" },
  { name: "mem-max", value: true, key: "mem-max" },
  { name: "initrd", value: true, key: "initrd" },
  { name: "rate-one", value: true, key: "rate" },
  { name: "rate-two", value: true, key: "rate" },
];

function read(...words: string[]): string[] {
  return [...getoptLong(words, "h?lxt:", long)].map((word) =>
    word.kind === "option"
      ? `${word.key}${word.value === undefined ? "" : `=${word.value}`}`
      : word.kind === "operand"
        ? `<${word.text}>`
        : `! ${word.message}`,
  );
}

test.each<[string[], string[]]>([
  [[], []],
  [
    ["-l", "vmlinuz", "-x"],
    ["l", "<vmlinuz>", "x"],
  ],
  [["-lx"], ["l", "x"]],
  [
    ["-lt", "bzImage"],
    ["l", "t=bzImage"],
  ],
  [
    ["-tbzImage", "-l"],
    ["t=bzImage", "l"],
  ],
  [["-t=x"], ["t==x"]],
  [
    ["-lxtl", "-l"],
    ["l", "x", "t=l", "l"],
  ],
  [["-?"], ["?"]],
  [["-:"], ["! invalid option -- ':'"]],
  [["-lZx"], ["l", "! invalid option -- 'Z'", "x"]],
  [["-t"], ["! option requires an argument -- 't'"]],
  [["--load"], ["l"]],
  [["--load-p"], ["p"]],
  [["--loa"], ["! option '--loa' is ambiguous; possibilities: '--load' '--load-panic'"]],
  [["--load=3"], ["! option '--load' doesn't allow an argument"]],
  [["--initrd=a=b"], ["initrd=a=b"]],
  [["--initrd="], ["initrd="]],
  [["--in", "-l"], ["initrd=-l"]],
  [["--in", "--"], ["initrd=--"]],
  [["--initrd"], ["! option '--initrd' requires an argument"]],
  [["--mem-m=1"], ["! option '--mem-m=1' is ambiguous; possibilities: '--mem-min' '--mem-max'"]],
  [["--rate=1"], ["rate=1"]],
  [
    ["--nonsense=1", "-l"],
    ["! unrecognized option '--nonsense=1'", "l"],
  ],
  [
    ["-", "--", "-l", "--"],
    ["<->", "<-l>", "<-->"],
  ],
])("%j", (words, expected) => {
  expect(read(...words)).toEqual(expected);
});

test("takes any words, each at most once", () => {
  const word = fc.oneof(
    fc.string(),
    fc.constantFrom("-l", "-tx", "--", "-", "--mem", "--initrd=", "--initrd", "-t"),
    fc.string().map((text) => `--${text}`),
    fc.string().map((text) => `-${text}`),
  );
  fc.assert(
    fc.property(fc.array(word), (words) => {
      const operands = [...getoptLong(words, "h?lxt:", long)].filter(({ kind }) => kind === "operand");
      expect(operands.length).toBeLessThanOrEqual(words.length);
    }),
  );
});
