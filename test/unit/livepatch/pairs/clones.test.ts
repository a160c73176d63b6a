/** Names that compilers give to clones and parts of functions, in each order, whatever compiler is here. */
import { type Pair, testPairs } from "./pair.ts";

/** A function under the name of a clone, which another one calls; `number` is what the compiler counts. */
const clone = (
  name: string,
  number = 0,
  by = 3,
) => `int sum(int) __asm__("${name.replaceAll("#", `${number}`)}");
noinline int sum(int x) { printk("%d", x); return x * ${by}; }
int f(int x) { return sum(x) + 1; }
`;
/** What gcc 4.8 to 15 and clang put behind a name. */
const suffixes = [
  ".isra.#",
  ".constprop.#",
  ".part.#",
  ".isra.#.constprop.#",
  ".constprop.#.isra.#",
  ".part.#.isra.#",
  ".isra.#.part.#",
  ".part.#.constprop.#",
  ".constprop.#.part.#",
  ".isra.#.part.#.constprop.#",
  ".lto_priv.#",
  ".constprop.#.lto_priv.#",
  ".llvm.1234567890123#",
  ".__uniq.98765#",
  ".__uniq.98765#.llvm.1234#",
];
/** As gcc names them before 9 and since, and clang's splitter. */
const coldSuffixes = [".cold", ".cold.#", ".isra.#.cold", ".constprop.#.cold.#", ".part.#.cold", ".cold.1"];

/** A cold part in a section of its own, as gcc puts it. */
const cold = (suffix: string, number = 0, by = 5) => {
  const name = `work${suffix.replaceAll("#", `${number}`)}`;
  const parent = name.replace(/\.cold.*/, "");
  return `int slow(int) __asm__("${name}");
__section(".text.unlikely.${parent}") noinline int slow(int x) { printk("slow %d", x); return x * ${by}; }
int work(int) __asm__("${parent}");
int work(int x) { return unlikely(x == 77) ? slow(x) : x * 2; }
int rest(int x) { return x * 3; }
`;
};

testPairs("names of clones", [
  ...suffixes.flatMap((suffix): Pair[] => [
    {
      name: `${suffix}: another number is no change`,
      source: clone(`sum${suffix}`),
      patched: clone(`sum${suffix}`, 4),
      verdict: "unchanged",
    },
    {
      name: `${suffix}: its body, and another number`,
      source: clone(`sum${suffix}`),
      patched: clone(`sum${suffix}`, 4, 7),
      verdict: "patchable",
      changed: [`sum${suffix.replaceAll("#", "4")}`],
      leaves: ["f"],
    },
  ]),
  ...coldSuffixes.flatMap((suffix): Pair[] => [
    {
      name: `${suffix}: another number is no change`,
      source: cold(suffix),
      patched: cold(suffix, 3),
      verdict: "unchanged",
    },
    {
      name: `${suffix}: its body`,
      source: cold(suffix),
      patched: cold(suffix, 0, 9),
      verdict: "patchable",
      changed: [`work${suffix.replaceAll("#", "0").replace(/\.cold.*/, "")}`],
      brings: [`work${suffix.replaceAll("#", "0")}`],
      leaves: ["rest"],
    },
  ]),
  {
    name: "clones of one function: the second goes, and the number of the third with it",
    source: [0, 1, 2]
      .map(
        (n) =>
          `int s${n}(int) __asm__("scale.constprop.${n}");\nnoinline int s${n}(int x) { printk("${n}"); return x * ${n + 3}; }\nint f${n}(int x) { return s${n}(x) + ${n}; }\n`,
      )
      .join(""),
    patched: [0, 2]
      .map(
        (n, index) =>
          `int s${n}(int) __asm__("scale.constprop.${index}");\nnoinline int s${n}(int x) { printk("${n}"); return x * ${n + 3}; }\nint f${n}(int x) { return s${n}(x) + ${n}; }\n`,
      )
      .join("")
      .concat("int f1(int x) { return get(x) + 1; }\n"),
    verdict: "patchable",
    changed: ["f1"],
    leaves: ["f0", "f2", "scale.constprop.0", "scale.constprop.1", "scale.constprop.2"],
  },
  {
    name: "a local function becomes global, and changes",
    source:
      'static noinline int f(int x) { printk("%d", x); return x * 3; }\nint g(int x) { return f(x) + 1; }\n',
    patched: 'noinline int f(int x) { printk("%d", x); return x * 5; }\nint g(int x) { return f(x) + 1; }\n',
    verdict: "patchable",
    changed: ["f"],
    leaves: ["g"],
  },
  {
    name: "a global function becomes local, and changes",
    source: 'noinline int f(int x) { printk("%d", x); return x * 3; }\nint g(int x) { return f(x) + 1; }\n',
    patched:
      'static noinline int f(int x) { printk("%d", x); return x * 5; }\nint g(int x) { return f(x) + 1; }\n',
    verdict: "patchable",
    changed: ["f"],
    leaves: ["g"],
  },
  {
    name: "a global variable becomes local, and its user changes",
    source: "int n = 3;\nint g(int x) { n += x; use(&n); return x; }\n",
    patched: "static int n = 3;\nint g(int x) { n -= x; use(&n); return x; }\n",
    verdict: "patchable",
    changed: ["g"],
    leaves: ["n"],
  },
] satisfies Pair[]);
