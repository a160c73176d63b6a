import { type Pair, testPairs } from "./pair.ts";

const swap = (source: string, from: string, to: string) => ({ source, patched: source.replace(from, to) });

const cold = `__attribute__((cold)) void slow(int);
int work(int x) { if (unlikely(x == 77)) { slow(x); slow(x + 1); printk("slow %d", x); } return x * 2; }
int rest(int x) { if (unlikely(x == 78)) { slow(x); slow(x + 3); printk("rest %d", x); } return x * 3; }
`;
/** gcc takes the members that it needs, and names the function so. */
const isra = `struct pair { int a, b; char rest[100]; };
static noinline int sum(struct pair *p, int x) { int a = p->a; printk("%d", x); return a * 3; }
int f(struct pair *p, int x) { return sum(p, x) + 1; }
int g(struct pair *p, int x) { return sum(p, x + 4) * 2; }
`;
const constprop = `static noinline int scale(int x, int by) { printk("%d", x); return x * by + by; }
int f(int x) { return scale(x, 7) + 1; }
int g(int x) { return scale(x + 2, 7) * 2; }
`;
const part = `extern int busy; void lock(void); void unlock(void);
static int enter(int x) { if (!busy) return 0; lock(); ${'printk("%d", x); '.repeat(20)} printk("%d", x * 7); unlock(); lock(); unlock(); return x; }
int f(int x) { return enter(x) + 1; }
int g(int x) { return enter(x + 4) * 2; }
int h(int x) { return enter(x + 6) * 3; }
`;

testPairs("functions in parts and by other names", [
  { name: "cold parts: nothing", source: cold, verdict: "unchanged" },
  {
    name: "a cold part changes alone",
    ...swap(cold, "x + 1", "x + 2"),
    verdict: "patchable",
    changed: ["work"],
    only: "gcc",
    brings: ["work.cold"],
    leaves: ["rest", "rest.cold"],
  },
  {
    name: "a cold part is added",
    ...swap(
      cold,
      "int rest(int x) { ",
      'int rest(int x) { if (unlikely(x == 5)) { slow(x); printk("five"); } ',
    ),
    verdict: "patchable",
    changed: ["rest"],
  },
  {
    name: "a cold part is removed",
    ...swap(cold, 'if (unlikely(x == 77)) { slow(x); slow(x + 1); printk("slow %d", x); } ', ""),
    verdict: "patchable",
    changed: ["work"],
    leaves: ["work.cold"],
  },
  {
    name: "a cold part gets another parent",
    source: cold,
    patched: cold
      .replace("int work", "static noinline int inner")
      .concat("int work(int x) { return inner(x + get(x)); }\n"),
    verdict: "patchable",
    changed: ["work"],
    new: ["inner"],
  },
  {
    name: "a cold part by gcc 8, which numbers it",
    ...swap(
      `int slow(int x) __asm__("work.isra.0.cold.7");\nnoinline int slow(int x) { printk("slow %d", x); return x * 5; }
int work(int x) __asm__("work.isra.0");\nint work(int x) { return unlikely(x == 77) ? slow(x) : x * 2; }\n`,
      "x * 5",
      "x * 6",
    ),
    verdict: "patchable",
    changed: ["work.isra.0"],
    brings: ["work.isra.0.cold.7"],
  },
  {
    name: ".isra: its body changes",
    ...swap(isra, "a * 3", "a * 5"),
    only: "gcc",
    verdict: "patchable",
    changed: ["sum.isra.0"],
    leaves: ["f", "g"],
  },
  {
    name: ".isra: a function becomes one",
    source: `${isra}void *address = sum;\n`,
    patched: isra.replace("a * 3", "a * 5"),
    only: "gcc",
    verdict: "patchable",
    changed: ["f", "g"],
    new: ["sum.isra.0"],
  },
  {
    name: ".isra: another number",
    source: isra,
    patched: `struct pair { int a, b; char rest[100]; };
static noinline int before(struct pair *p, int x) { int b = p->b; printk("%d!", x); return b * 9; }
int e(struct pair *p, int x) { return before(p, x) + 1; }
${isra.slice(isra.indexOf("\n") + 1)}`,
    only: "gcc",
    verdict: "patchable",
    new: ["e", "before.isra.0"],
    leaves: ["f", "g", "sum.isra.1", "sum.isra.0"],
  },
  {
    name: ".constprop: its body changes",
    ...swap(constprop, "x * by + by", "x * by - by"),
    only: "gcc",
    verdict: "patchable",
    changed: ["scale.constprop.0"],
  },
  {
    name: ".constprop: the constant changes",
    source: constprop,
    patched: constprop.replaceAll(", 7)", ", 9)"),
    only: "gcc",
    verdict: "patchable",
    changed: ["scale.constprop.0"],
  },
  {
    name: ".part: its body changes",
    ...swap(part, "x * 7", "x * 9"),
    only: "gcc",
    since: 11,
    verdict: "patchable",
    changed: ["enter.part.0"],
  },
  {
    name: ".part: a caller changes",
    ...swap(part, "* 3", "* 4"),
    verdict: "patchable",
    changed: ["h"],
    leaves: ["f", "g", "enter.part.0"],
  },
  {
    name: "a global function becomes local",
    ...swap(
      'noinline int f(int x) { printk("%d", x); return x * 3; }\nint g(int x) { return f(x) + 1; }\n',
      "noinline int f",
      "static noinline int f",
    ),
    verdict: "unchanged",
  },
  {
    name: "a local variable becomes global",
    ...swap("static int n = 3;\nint g(int x) { n += x; use(&n); return x; }\n", "static int n", "int n"),
    verdict: "unchanged",
  },
  {
    name: "a weak function changes",
    ...swap(
      "noinline __attribute__((weak)) int f(int x) { return x * 3; }\nint g(int x) { return f(x) + 1; }\n",
      "* 3",
      "* 4",
    ),
    verdict: "patchable",
    changed: ["f"],
  },
  {
    name: "a function with another name",
    source: 'int f(int x) { printk("f"); return x * 3; }\nint alias(int x) __attribute__((alias("f")));\n',
    patched:
      'int f(int x) { printk("f"); return x * 4; }\nint alias(int x) __attribute__((alias("f")));\nint another(int x) __attribute__((alias("f")));\n',
    verdict: "patchable",
    changed: ["f"],
  },
  {
    name: "an initcall whose name has lines and ids",
    source: `int f(int x) { return x * 2; }\nint __init setup(void) { return 3; }\nvoid *__initcall__kmod_foo__123_45_setup6 __used __section(".initcall6.init") = setup;\n`,
    patched: `int f(int x) { return x * 3; }\nint __init setup(void) { return 3; }\nvoid *__initcall__kmod_foo__125_49_setup6 __used __section(".initcall6.init") = setup;\n`,
    verdict: "patchable",
    changed: ["f"],
  },
  {
    name: "names with the number of a counter",
    source: `static int __UNIQUE_ID_state_12, __UNIQUE_ID_state_14;
int f(int x) { use(&__UNIQUE_ID_state_12); return x; }\nint g(int x) { use(&__UNIQUE_ID_state_14); return x * 2; }
static void *__UNIQUE_ID___addressable_f12 __used __section(".discard.addressable") = f;\n`,
    patched: `static int __UNIQUE_ID_state_14, __UNIQUE_ID_state_16;
int f(int x) { use(&__UNIQUE_ID_state_14); return x; }\nint g(int x) { use(&__UNIQUE_ID_state_16); return x * 2; }
static void *__UNIQUE_ID___addressable_f15 __used __section(".discard.addressable") = f;\n`,
    verdict: "unchanged",
  },
  {
    name: "module parameters, exports and kprobe blacklists that move",
    source: `int f(int x) { return x * 2; }\nstatic int p; struct param { char *n; void *v; } __param_p __used __section("__param") = { "p", &p };\nvoid *_kbl_addr_f __used __section("_kprobe_blacklist") = f;\nstruct s { void *v; } __ksymtab_f __used __section("___ksymtab+f") = { f };\n`,
    patched: `struct s { void *v; };\nint f(int x) { return x * 3; }\nvoid *_kbl_addr_f __used __section("_kprobe_blacklist") = f;\nstatic int p; struct param { char *n; void *v; } __param_p __used __section("__param") = { "p", &p };\n`,
    verdict: "patchable",
    changed: ["f"],
  },
] satisfies Pair[]);
