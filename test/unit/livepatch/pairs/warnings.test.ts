import { type Pair, testPairs } from "./pair.ts";

/** Puts lines in front: what moves is the place in the source alone. */
const moved = (source: string, lines = 3) => "\n".repeat(lines) + source;

const warn =
  "int check(int x) { if (x < 0) WARN_FLAGS(1); return x + 1; }\nint safe(int x) { if (x) WARN_FLAGS(3); return x; }\n";
const once =
  "int first(int x) { WARN_ON_ONCE(x > 3); return x; }\nint second(int x) { WARN_ON_ONCE(x > 5); return x; }\n";
const sleep =
  'int nap(int x) { might_sleep(); return x * 3; }\nint doze(int x) { might_sleep(); lockdep_rcu_suspicious(__FILE__, __LINE__, "why"); return x; }\n';
const rtnl = "int link(int x) { ASSERT_RTNL(); return x * 3; }\n";
const named = `int f(int x) { printk("%s:%d a", __func__, __LINE__); return x; }
int g(int x) { printk("%s:%d b", __func__, __LINE__); return x; }
`;
const short =
  "int check(int x) { if (x < 0) WARN_SHORT(1); return x + 1; }\nint safe(int x) { if (x) WARN_SHORT(3); return x; }\n";
const format =
  'int check(int x) { if (x < 0) WARN_FORMAT(1, "a"); if (x > 5) WARN_FORMAT(1, "b"); return x + 1; }\n';

testPairs("warnings and lines", [
  { name: "a blank line beside a WARN", source: warn, patched: moved(warn), verdict: "unchanged" },
  {
    name: "flags of one bug entry",
    source: warn,
    patched: moved(warn.replace("WARN_FLAGS(1)", "WARN_FLAGS(9)")),
    verdict: "patchable",
    changed: ["check"],
    tables: { check: { __bug_table: 1 } },
    leaves: ["safe"],
  },
  { name: "bug entries without file and line", source: short, patched: moved(short), verdict: "unchanged" },
  {
    name: "flags of a bug entry without file and line",
    source: short,
    patched: short.replace("WARN_SHORT(3)", "WARN_SHORT(7)"),
    verdict: "patchable",
    changed: ["safe"],
  },
  {
    name: "bug entries with a format: another line",
    source: format,
    patched: moved(format),
    verdict: "unchanged",
  },
  {
    name: "bug entries with a format: another format",
    source: format,
    patched: format.replace('"b"', '"c"'),
    verdict: "patchable",
    changed: ["check"],
    tables: { check: { __bug_table: 2 } },
  },
  { name: "WARN_ON_ONCE on other lines", source: once, patched: moved(once), verdict: "unchanged" },
  {
    name: "a new WARN_ON_ONCE in front of others",
    source: once,
    patched: once.replace("{ WARN", "{ WARN_ON_ONCE(x == 77); WARN"),
    verdict: "patchable",
    changed: ["first"],
    tables: { first: { __bug_table: 2 } },
    leaves: ["second"],
  },
  {
    name: "a WARN_ON_ONCE that goes",
    source: once,
    patched: once.replace("WARN_ON_ONCE(x > 3); ", ""),
    verdict: "patchable",
    changed: ["first"],
  },
  {
    name: "line numbers that might_sleep() and lockdep get",
    source: sleep,
    patched: moved(sleep),
    verdict: "unchanged",
  },
  {
    name: "line numbers that ASSERT_RTNL() prints",
    source: rtnl,
    patched: moved(rtnl, 9),
    verdict: "unchanged",
  },
  {
    name: "another line and another number",
    source: sleep,
    patched: moved(sleep.replace("x * 3", "x * 5")),
    verdict: "patchable",
    changed: ["nap"],
  },
  {
    name: "lines that move in both directions are none",
    source: `#line 50\nint both(int x) { __might_sleep(__FILE__, 70); get(x); __might_sleep(__FILE__, 60); return x; }\n`,
    patched: `#line 50\nint both(int x) { __might_sleep(__FILE__, 71); get(x); __might_sleep(__FILE__, 59); return x; }\n`,
    verdict: "patchable",
    changed: ["both"],
  },
  {
    name: "a number that is no line",
    source: 'int f(int x) { printk("limit %d\\n", 500); return x; }\n',
    patched: 'int f(int x) { printk("limit %d\\n", 501); return x; }\n',
    verdict: "patchable",
    changed: ["f"],
  },
  {
    name: "a number behind a file's name that is not the argument behind it",
    source: "void op(const char *, int, int); int f(int x) { op(__FILE__, x, 500); return x; }\n",
    patched: "void op(const char *, int, int); int f(int x) { op(__FILE__, x, 501); return x; }\n",
    verdict: "patchable",
    changed: ["f"],
  },
  {
    name: "lines behind the name of the function, which move together",
    source: named,
    patched: moved(named),
    verdict: "unchanged",
  },
  {
    name: "one number behind the name of the function is none",
    source: 'int f(int x) { printk("%s: %d\\n", __func__, 100); return x; }\n',
    patched: 'int f(int x) { printk("%s: %d\\n", __func__, 101); return x; }\n',
    verdict: "patchable",
    changed: ["f"],
  },
  {
    name: "lines in texts, with one digit more",
    source: `#line 98 "a/unit.c"\nint f(int x) { printk("field at " __FILE__ ":" str(__LINE__)); return x; }\n`,
    patched: `#line 101 "a/unit.c"\nint f(int x) { printk("field at " __FILE__ ":" str(__LINE__)); return x; }\n`,
    verdict: "unchanged",
  },
  {
    name: "another file's name",
    source: 'int f(int x) { __might_sleep("a.c", 50); return x; }\n',
    patched: 'int f(int x) { __might_sleep("b.c", 51); return x; }\n',
    verdict: "patchable",
    changed: ["f"],
  },
  {
    name: "what a sanitizer notes about a place in the source",
    flags: ["-fsanitize=shift"],
    source: "int shift(int x, int y) { return x << y; }\n",
    patched: moved("int shift(int x, int y) { return x << y; }\n"),
    verdict: "unchanged",
  },
  {
    name: "what a sanitizer notes comes along with its function",
    flags: ["-fsanitize=shift"],
    source: "int shift(int x, int y) { return x << y; }\n",
    patched: moved("int shift(int x, int y) { return x << (y + 1); }\n"),
    verdict: "patchable",
    changed: ["shift"],
  },
  {
    name: "_THIS_IP_",
    source:
      "int f(int x) { here: use(&&here); return x * 2; }\nint g(int x) { here: use(&&here); return x * 4; }\n",
    patched:
      "int f(int x) { here: use(&&here); return x * 3; }\nint g(int x) { here: use(&&here); return x * 4; }\n",
    verdict: "patchable",
    changed: ["f"],
    leaves: ["g"],
  },
] satisfies Pair[]);
