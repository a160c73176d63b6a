import { type Pair, testPairs } from "./pair.ts";

const swap = (source: string, from: string, to: string) => ({ source, patched: source.replace(from, to) });

testPairs("functions and data", [
  {
    name: "a comment",
    source: "int f(int x) { return x; }\n",
    patched: "/* why */\nint f(int x) { return x; }\n",
    verdict: "unchanged",
  },
  {
    name: "a string",
    ...swap(
      'int f(int x) { printk("VmallocChunk: %d", x); return x; }\nint g(int x) { printk("other %d", x); return x; }\n',
      "VmallocChunk",
      "VMALLOCCHUNK",
    ),
    verdict: "patchable",
    changed: ["f"],
  },
  {
    name: "a string in front of others",
    source: 'int f(int x) { printk("one"); return x; }\nint g(int x) { printk("two"); return x; }\n',
    patched:
      'int e(int x) { printk("zero zero"); return x; }\nint f(int x) { printk("one"); return x; }\nint g(int x) { printk("two"); return x; }\n',
    verdict: "patchable",
    new: ["e"],
    leaves: ["f", "g"],
  },
  {
    name: "a long string, which is aligned, between others",
    ...swap(
      `int f(int x) { printk("the first of the long strings of this file, %d", x); return x; }
int g(int x) { printk("the second of the long strings of this file, %d", x); printk("%d"); return x; }
int h(int x) { printk("the second of the long strings of this file, %d", x + 1); return x; }
`,
      "the first of",
      "the first and longest of",
    ),
    verdict: "patchable",
    changed: ["f"],
    leaves: ["g", "h"],
  },
  {
    name: "a string that two functions share changes in one",
    ...swap(
      `int f(int x) { printk("shared %d", x); return x; }\nint g(int x) { printk("shared %d", x); return x * 2; }\n`,
      "shared",
      "own",
    ),
    verdict: "patchable",
    changed: ["f"],
    leaves: ["g"],
  },
  {
    name: "a string that is the end of another",
    source: `int f(int x) { printk("value of limit"); return x; }\nint g(int x) { printk("limit"); return x * 2; }\n`,
    patched: `int f(int x) { printk("value of limit"); return x; }\nint g(int x) { printk("of limit"); return x * 2; }\n`,
    verdict: "patchable",
    changed: ["g"],
    leaves: ["f"],
  },
  {
    name: "constants of 8 and 16 bytes, which are merged by their content",
    source: `#define CONSTANT(name, size, value) asm(".pushsection .rodata.cst" #size ", \\"aM\\", @progbits, " #size "\\n" name ": .fill " #size ", 1, " #value "\\n .popsection"); extern const char name_##value[] __asm__(name);
CONSTANT("one", 8, 11) CONSTANT("two", 8, 12) CONSTANT("three", 16, 13)
int f(int x) { use(name_11); return x; }\nint g(int x) { use(name_12); use(name_13); return x * 2; }\n`,
    patched: `#define CONSTANT(name, size, value) asm(".pushsection .rodata.cst" #size ", \\"aM\\", @progbits, " #size "\\n" name ": .fill " #size ", 1, " #value "\\n .popsection"); extern const char name_##value[] __asm__(name);
CONSTANT("two", 8, 12) CONSTANT("one", 8, 15) CONSTANT("three", 16, 13)
int f(int x) { use(name_15); return x; }\nint g(int x) { use(name_12); use(name_13); return x * 2; }\n`,
    verdict: "patchable",
    changed: ["f"],
    leaves: ["g"],
  },
  {
    name: "strings that are not merged",
    flags: ["-fno-merge-constants"],
    ...swap(
      'int f(int x) { printk("one"); return x; }\nint g(int x) { printk("two"); return x; }\n',
      '"one"',
      '"one and more"',
    ),
    verdict: "patchable",
    changed: ["f"],
    leaves: ["g"],
  },
  {
    name: "a new variable",
    source: "int f(int x) { return x; }\n",
    patched: "static int seen;\nint f(int x) { use(&seen); seen++; return x; }\n",
    verdict: "patchable",
    changed: ["f"],
    brings: ["seen"],
  },
  {
    name: "a variable that is mostly read",
    ...swap(
      'int limit __section(".data..read_mostly") = 5;\nint f(int x) { return x + limit; }\n',
      "x + limit",
      "x - limit",
    ),
    verdict: "patchable",
    changed: ["f"],
    leaves: ["limit"],
  },
  {
    name: "a new function and its variable",
    source: "int f(int x) { return x; }\n",
    patched:
      "static int n;\nstatic noinline int clamp(int x) { n++; use(&n); return x > 9 ? 9 : x; }\nint f(int x) { return clamp(x); }\n",
    verdict: "patchable",
    changed: ["f"],
    new: ["clamp"],
  },
  {
    name: "a pointer to a new function",
    source: "int f(void (**to)(int)) { *to = 0; return 1; }\n",
    patched:
      'static void handler(int x) { printk("%d", x); }\nint f(void (**to)(int)) { *to = handler; return 1; }\n',
    verdict: "patchable",
    changed: ["f"],
    new: ["handler"],
  },
  {
    name: "a new global function that another unit may need",
    source: "int f(int x) { return x; }\n",
    patched: 'int news(int x) { printk("%d", x); return x; }\nint f(int x) { return x; }\n',
    verdict: "patchable",
    new: ["news"],
  },
  {
    name: "several functions",
    source: "int f(int x) { return x; }\nint g(int x) { return x; }\nint h(int x) { return x; }\n",
    patched: "int f(int x) { return x + 1; }\nint g(int x) { return x; }\nint h(int x) { return x + 2; }\n",
    verdict: "patchable",
    changed: ["f", "h"],
  },
  {
    name: "__init code",
    ...swap("int f(int x) { return x; }\nint __init setup(void) { return f(3); }\n", "f(3)", "f(4)"),
    verdict: "refused",
    codes: ["RK-INIT-CHANGE"],
  },
  {
    name: "__init code and another function",
    source: 'int f(int x) { return x; }\nint __init setup(void) { printk("a"); return get(3); }\n',
    patched: 'int f(int x) { return x + 1; }\nint __init setup(void) { printk("b"); return get(3); }\n',
    verdict: "refused",
    changed: ["f"],
    codes: ["RK-INIT-CHANGE"],
  },
  {
    name: "a switch that becomes a table",
    ...swap(
      "int f(unsigned x) { switch (x) { case 0: return 11; case 1: return 7; case 2: return 9; case 3: return 43; case 4: return 5; default: return 1; } }\nint g(unsigned x) { switch (x) { case 0: return 1; case 1: return 2; case 2: return 94; case 3: return 13; case 4: return 25; default: return 1; } }\n",
      "return 43",
      "return 44",
    ),
    verdict: "patchable",
    changed: ["f"],
    leaves: ["g"],
  },
  {
    name: "a switch that jumps through a table",
    ...swap(
      'int f(unsigned x) { switch (x) { case 0: get(4); break; case 1: printk("1"); break; case 2: get(2); break; case 3: printk("3"); break; case 4: get(9); break; case 5: get(7); } return 1; }\n',
      "get(9)",
      "get(10)",
    ),
    verdict: "patchable",
    changed: ["f"],
  },
  {
    name: "a compound literal",
    source:
      "struct s { int a; }; struct t { struct s *s; } t = { &(struct s){ 4 } };\nint f(int x) { return t.s->a + x; }\n",
    patched:
      "struct s { int a; }; struct t { struct s *s; } t = { &(struct s){ 4 } };\nint f(int x) { return t.s->a - x; }\n",
    verdict: "patchable",
    changed: ["f"],
  },
  {
    name: "constants that a function copies",
    ...swap(
      "struct big { long a[9]; }; void take(struct big *);\nint f(int x) { struct big b = { { 1, 2, 3, 4, 5, 6, 7, 8, 9 } }; take(&b); return x; }\n",
      "8, 9",
      "8, 10",
    ),
    verdict: "patchable",
    changed: ["f"],
  },
  {
    name: "tracepoints",
    ...swap(
      'DEFINE_TRACE(event);\nint f(int x) { if (static_branch(&__tracepoint_event.key)) printk("event"); return x * 2; }\n',
      "x * 2",
      "x * 3",
    ),
    verdict: "patchable",
    changed: ["f"],
    leaves: ["__tracepoint_event", "__tpstrtab_event"],
  },
  {
    name: "a system call whose body stays",
    ...swap(
      'static inline __attribute__((always_inline)) long __do_sys_news(long a) { printk("%d", a); return a; }\nSYSCALL_BODY(news) { return __do_sys_news(regs[2]); }\n',
      "return a;",
      "return a + 1;",
    ),
    verdict: "patchable",
    changed: ["__x64_sys_news"],
  },
  {
    name: "a call of a function elsewhere",
    ...swap("int f(int x) { return get(x); }\n", "get(x)", "({ extern int got(int); got(x); })"),
    verdict: "patchable",
    changed: ["f"],
  },
  {
    name: "the order of functions",
    source: "int f(int x) { return x + 1; }\nint g(int x) { return x + 2; }\n",
    patched: "int g(int x) { return x + 2; }\nint f(int x) { return x + 1; }\n",
    verdict: "unchanged",
  },
] satisfies Pair[]);
