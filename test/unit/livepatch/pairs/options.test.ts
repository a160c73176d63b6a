/** Code as the kernel's options for hardening and tracing make it. */
import { type Pair, testPairs } from "./pair.ts";

const source = `static noinline int sum(int x) { printk("%d", x); return x * 3; }
int (*address)(int) = sum;
int f(int x) { return address(x) + 1; }
int g(int x) { return sum(x) + address(x); }
int h(unsigned x) { switch (x) { case 0: return get(4); case 1: printk("1"); break; case 2: return get(2); case 3: printk("3"); break; case 4: get(9); break; case 5: get(7); } return 1; }
`;
const swap = (from: string, to: string) => ({ source, patched: source.replace(from, to) });

interface Options {
  name: string;
  flags: string[];
  only?: "gcc" | "clang";
  since?: number;
}

const options: Options[] = [
  { name: "indirect branch tracking", flags: ["-fcf-protection=branch", "-fno-jump-tables"] },
  { name: "indirect branch tracking and switch tables", flags: ["-fcf-protection=branch"] },
  {
    name: "retpolines and return thunks",
    flags: ["-mindirect-branch=thunk-extern", "-mindirect-branch-register", "-mfunction-return=thunk-extern"],
    only: "gcc",
    since: 8,
  },
  { name: "retpolines", flags: ["-mretpoline-external-thunk", "-fno-jump-tables"], only: "clang", since: 11 },
  { name: "call padding", flags: ["-fpatchable-function-entry=16,16"], only: "gcc", since: 8 },
  {
    name: "call padding and indirect branch tracking",
    flags: ["-fpatchable-function-entry=16,16", "-fcf-protection=branch"],
    only: "gcc",
    since: 11,
  },
  { name: "straight-line speculation", flags: ["-mharden-sls=all"], only: "gcc", since: 12 },
  { name: "frame pointers", flags: ["-fno-omit-frame-pointer", "-fno-optimize-sibling-calls"] },
  { name: "unwind tables", flags: ["-fasynchronous-unwind-tables"] },
  { name: "a stack protector", flags: ["-fstack-protector-strong"] },
  { name: "size before speed", flags: ["-Os"] },
  { name: "debug information", flags: ["-g"] },
  { name: "aligned functions", flags: ["-falign-functions=32"] },
];

testPairs(
  "options of the kernel",
  options.flatMap(({ name, ...compiler }): Pair[] => [
    { name: `${name}: nothing`, source, ...compiler, verdict: "unchanged" },
    {
      name: `${name}: a function whose address is kept`,
      ...swap("x * 3", "x * 5"),
      ...compiler,
      verdict: "patchable",
      changed: ["sum"],
      leaves: ["f", "g", "h"],
    },
    {
      name: `${name}: an indirect call`,
      ...swap("address(x) + 1", "address(x + 1)"),
      ...compiler,
      verdict: "patchable",
      changed: ["f"],
      leaves: ["g", "h", "sum"],
    },
    {
      name: `${name}: a case of a switch`,
      ...swap("get(9)", "get(10)"),
      ...compiler,
      verdict: "patchable",
      changed: ["h"],
      leaves: ["f", "g", "sum"],
    },
  ]),
);
