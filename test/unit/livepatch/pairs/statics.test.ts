import { type Pair, testPairs } from "./pair.ts";

const swap = (source: string, from: string, to: string) => ({ source, patched: source.replace(from, to) });
const counter = (name: string, start: number, step = "++count") =>
  `int ${name}(int x) { static int count = ${start}; return ${step} + x; }\n`;

testPairs("static locals", [
  {
    name: "of several functions, one in front",
    source: counter("first", 1) + counter("second", 2),
    patched: counter("zero", 5) + counter("first", 1) + counter("second", 2, "(count += 2)"),
    verdict: "patchable",
    changed: ["second"],
    new: ["zero"],
    leaves: ["count.0", "count.1", "first"],
  },
  {
    name: "renumbered alone",
    source: counter("first", 1),
    patched: `int other(int x) { static int seen; return seen += x; }\n${counter("first", 1)}`,
    verdict: "patchable",
    new: ["other"],
    brings: ["other"],
    leaves: ["first"],
  },
  {
    name: "a new one is brought",
    source: "int tick(int x) { return x; }\n",
    patched: "int tick(int x) { static int news; return x + ++news; }\n",
    verdict: "patchable",
    changed: ["tick"],
  },
  {
    name: "one that goes",
    source: `${counter("first", 1)}int last(int x) { static int count; static int other; return x + ++count + ++other; }\n`,
    patched: `${counter("first", 1)}int last(int x) { static int other; return x + ++other; }\n`,
    verdict: "patchable",
    changed: ["last"],
    leaves: ["other.0", "other.1", "other"],
  },
  {
    name: "several of one name in one function: what stays keeps its own",
    source:
      "int f(int x) { if (x) { static int n = 4; use(&n); get(1); } else { static int n = 4; get(2); use(&n); } return 0; }\n",
    patched: "int f(int x) { if (x) { get(1); } else { static int n = 4; get(2); use(&n); } return 0; }\n",
    verdict: "patchable",
    changed: ["f"],
    leaves: ["n.0", "n.1", "n.2", "f.n", "f.n.1"],
  },
  {
    name: "moved into a function that is split off",
    source: "int f(int x) { static int n; if (x > 5) { n += x; use(&n); } return x; }\n",
    patched:
      "static noinline void part(int x) { static int n; n += x; use(&n); }\nint f(int x) { if (x > 5) part(x); return x; }\n",
    verdict: "patchable",
    changed: ["f"],
    new: ["part"],
    leaves: ["n.0", "n.1", "part.n"],
  },
  {
    name: "of a function that is inlined into two",
    source:
      "static inline __attribute__((always_inline)) int h(int x) { static int n; n += x; use(&n); return n; }\nint f(int x) { return h(x) * 2; }\nint g(int x) { return h(x) * 3; }\n",
    patched:
      "static inline __attribute__((always_inline)) int h(int x) { static int n; n += x; use(&n); return n; }\nint f(int x) { return h(x) * 2; }\nint g(int x) { return h(x) * 5; }\n",
    verdict: "patchable",
    changed: ["g"],
    leaves: ["n.0", "n.1", "h.n", "f"],
  },
  {
    name: "of a function that is no longer inlined",
    source:
      "static inline __attribute__((always_inline)) int h(int x) { static int n; n += x; use(&n); return n; }\nint f(int x) { return h(x) * 2; }\n",
    patched:
      "static noinline int h(int x) { static int n; n += x; use(&n); return n; }\nint f(int x) { return h(x) * 2; }\n",
    verdict: "patchable",
    changed: ["f"],
    new: ["h"],
    leaves: ["n.0", "h.n"],
  },
  {
    name: "a variable of the file that becomes a static local",
    source: "static int n = 3;\nint f(int x) { n += x; use(&n); return x; }\n",
    patched: "int f(int x) { static int n = 3; n += x; use(&n); return x; }\n",
    verdict: "unchanged",
  },
  {
    name: "the same order, other functions between",
    source: ["a", "b", "c", "d"].map((name, index) => counter(name, index)).join(""),
    patched: ["c", "a", "d", "b"]
      .map((name) => counter(name, "abcd".indexOf(name), name === "d" ? "(count -= 3)" : "++count"))
      .join(""),
    verdict: "patchable",
    changed: ["d"],
  },
  {
    name: "a changed initialiser",
    ...swap(counter("first", 1), "count = 1", "count = 2"),
    verdict: "refused",
    codes: ["RK-DATA-CHANGE"],
  },
  {
    name: "lock classes",
    source:
      "char l1, l2;\nint f(int x) { mutex_init(&l1); return x; }\nint g(int x) { mutex_init(&l2); return x * 2; }\n",
    patched:
      "char l1, l2, l3;\nint f(int x) { mutex_init(&l3); mutex_init(&l1); return x; }\nint g(int x) { mutex_init(&l2); return x * 2; }\n",
    verdict: "patchable",
    changed: ["f"],
  },
  {
    name: "__func__ and other constants of one name",
    source:
      "int a(int x) { printk(__func__); return x; }\nint b(int x) { printk(__func__); return x * 2; }\n",
    patched:
      "int c(int x) { printk(__func__); return x; }\nint a(int x) { printk(__func__); return x; }\nint b(int x) { printk(__func__); return x * 3; }\n",
    verdict: "patchable",
    changed: ["b"],
    new: ["c"],
  },
  ...["__verbose", "__dyndbg"].map(
    (table): Pair => ({
      name: `dynamic debug in ${table}, moved`,
      source: `int a(int x) { pr_debug_in("${table}", "one"); return x; }\nint b(int x) { pr_debug_in("${table}", "two"); return x * 2; }\n`,
      patched: `\n\nint a(int x) { pr_debug_in("${table}", "one"); return x; }\nint b(int x) { pr_debug_in("${table}", "two"); return x * 3; }\n`,
      verdict: "patchable",
      changed: ["b"],
    }),
  ),
  {
    name: "the printk index, moved",
    source: 'int a(int x) { PRINTK_INDEX("one"); return x; }\n',
    patched: '\n\n\nint a(int x) { PRINTK_INDEX("one"); return x; }\n',
    verdict: "unchanged",
  },
  {
    name: "the printk index comes along",
    source:
      'int a(int x) { PRINTK_INDEX("one"); return x; }\nint b(int x) { PRINTK_INDEX("two"); return x; }\n',
    patched:
      'int a(int x) { PRINTK_INDEX("one"); return x; }\nint b(int x) { PRINTK_INDEX("TWO"); return x * 2; }\n',
    verdict: "patchable",
    changed: ["b"],
    leaves: ["a"],
  },
  ...["#", "#.1"].map(
    (number): Pair => ({
      name: `as clang names them: count${number}`,
      source: `int f(int x) { static int count __asm__("f.count${number.slice(1)}"); count += x; use(&count); return x; }
int g(int x) { static int count __asm__("g.count${number.slice(1)}") = 3; count += x; use(&count); return x; }
`,
      patched: `int e(int x) { static int count __asm__("e.count"); count += x; use(&count); return x; }
int f(int x) { static int count __asm__("f.count.7"); count += x; use(&count); return x; }
int g(int x) { static int count __asm__("g.count.8") = 3; count -= x; use(&count); return x; }
`,
      verdict: "patchable",
      changed: ["g"],
      new: ["e"],
      brings: ["e.count"],
      leaves: ["f", "f.count.7", "g.count.8"],
    }),
  ),
] satisfies Pair[]);
