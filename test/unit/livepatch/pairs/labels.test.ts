/** Addresses of labels in data, and code of the start that is kept from now on. */
import { type Pair, testPairs } from "./pair.ts";

const swap = (source: string, from: string, to: string) => ({ source, patched: source.replace(from, to) });

/** Each label's code has an effect of its own, so that none goes away. */
const jumps = (table: string) => `int f(int x) {
${table} = { &&a, &&b, &&c };
use((void *)table);
goto *table[x & 1];
a: get(1); return 4; b: printk("b"); return 5; c: return get(9);
}
int g(int x) { return x * 3; }
`;
const constant = jumps("static const void *const table[]").replace(/use\(.*\n/, "");
const live = jumps("static void *table[]");
/** As clang names it: nothing but the name tells it from a table of the file. */
const named = constant.replace("table[] =", 'table[] __asm__("f.table") =');

testPairs("labels in data", [
  {
    name: "a table that can be written leads into the old function",
    ...swap(live, "get(1); return 4", "get(2); get(3); return 4"),
    verdict: "refused",
    changed: ["f"],
    codes: ["RK-DATA-CHANGE"],
  },
  {
    name: "also where no label moves",
    ...swap(live, "get(1)", "get(2)"),
    verdict: "refused",
    changed: ["f"],
    codes: ["RK-DATA-CHANGE"],
  },
  { name: "nothing", source: live, verdict: "unchanged" },
  {
    name: "another function",
    ...swap(live, "x * 3", "x * 5"),
    verdict: "patchable",
    changed: ["g"],
    leaves: ["f"],
  },
  {
    name: "a constant table comes along",
    ...swap(constant, "get(1); return 4", "get(2); get(3); return 4"),
    verdict: "patchable",
    changed: ["f"],
  },
  {
    name: "a constant table comes along where no label moves",
    ...swap(named, "get(1)", "get(2)"),
    verdict: "patchable",
    changed: ["f"],
    brings: ["f.table"],
  },
] satisfies Pair[]);

const setup = (
  init: string,
  use: string,
) => `${init} noinline int helper(int x) { printk("%d", x); return x * 3; }
int __init setup(void) { return helper(get(4)); }
int f(int x) { return x ${use}; }
`;

testPairs("code of the start", [
  {
    name: "that is kept from now on is new to those that call it now",
    source: setup("static __init", "* 5"),
    patched: setup("static", "* 5 + helper(x)"),
    verdict: "patchable",
    changed: ["f"],
    new: ["helper"],
    brings: ["helper"],
    leaves: ["setup"],
  },
  {
    name: "that is kept from now on, and called by nothing but what has run",
    source: setup("static __init", "* 5"),
    patched: setup("static", "* 5"),
    verdict: "unchanged",
  },
  {
    name: "that is kept from now on, and pointed to by what the kernel holds",
    source: `${setup("static __init", "* 5")}struct ops { int (*run)(int); } ops = { helper };\n`,
    patched: `${setup("static", "* 5")}struct ops { int (*run)(int); } ops = { helper };\n`,
    verdict: "refused",
    codes: ["RK-DATA-CHANGE"],
  },
  {
    name: "that is kept from now on, as a running function called it before",
    source: setup("__init", "* 5 + helper(x)").replace(/int __init setup.*\n/, ""),
    patched: setup("", "* 5 + helper(x)").replace(/int __init setup.*\n/, ""),
    verdict: "patchable",
    changed: ["f"],
    new: ["helper"],
    brings: ["helper"],
  },
  {
    name: "that a function becomes leaves the kernel's",
    source: setup("", "* 5").replace(/int __init setup.*\n/, ""),
    patched: setup("__init", "* 6").replace(/int __init setup.*\n/, ""),
    verdict: "patchable",
    changed: ["f"],
    leaves: ["helper"],
  },
] satisfies Pair[]);
