/** Tables whose section headers tell the size of an entry, as kernels since 6.18 have them ("aM", mergeable). */
import { type Pair, testPairs } from "./pair.ts";

interface Table {
  section: string;
  flags: string;
  size: number;
  /** Of an entry that belongs to label 1. */
  entry: (value: number) => string;
  /** Whether a value in an entry means something by itself. */
  counts?: boolean;
}

const tables: Table[] = [
  {
    section: "__bug_table",
    flags: "awM",
    size: 12,
    entry: (value) => `.long 1b - ., 0\\n .word ${value}, 0`,
    counts: true,
  },
  {
    section: "__ex_table",
    flags: "aM",
    size: 12,
    entry: (value) => `.long 1b - ., 1b - . + 2\\n .long ${value}`,
    counts: true,
  },
  {
    section: "__jump_table",
    flags: "awM",
    size: 16,
    entry: (value) => `.long 1b - ., 1b - .\\n .quad key + ${value & 2} - .`,
    counts: true,
  },
  {
    section: ".altinstructions",
    flags: "aM",
    size: 14,
    entry: (value) => `.long 1b - ., replacement - .\\n .4byte ${value}\\n .byte 2, 2`,
    counts: true,
  },
  { section: ".smp_locks", flags: "aM", size: 4, entry: () => ".long 1b - ." },
  { section: ".kcfi_traps", flags: "aM", size: 4, entry: () => ".long 1b - ." },
];

const code = (table: Table, value = 5) => {
  const site = (number: number) =>
    `asm volatile("1: ud2\\n .pushsection ${table.section}, \\"${table.flags}\\", @progbits, ${table.size}\\n ${table.entry(number)}\\n .popsection");`;
  return `struct static_key key;
asm(".pushsection .altinstr_replacement, \\"ax\\"\\n replacement: nop\\n nop\\n .popsection");
int a(int x) { ${site(5)} return x * 3; }
int b(int x) { ${site(5)} get(x); ${site(value)} return x * 5; }
int c(int x) { ${site(5)} return x * 7; }
`;
};

testPairs(
  "tables with sizes",
  tables.flatMap((table): Pair[] => [
    { name: `${table.section}: nothing`, source: code(table), verdict: "unchanged" },
    {
      name: `${table.section}: entries go along`,
      source: code(table),
      patched: code(table).replace("x * 5", "x * 9"),
      verdict: "patchable",
      changed: ["b"],
      tables: { b: { [table.section]: 2 } },
      leaves: ["a", "c"],
    },
    ...(table.counts === true
      ? [
          {
            name: `${table.section}: what one entry says`,
            source: code(table),
            patched: code(table, 6),
            verdict: "patchable" as const,
            changed: ["b"],
            tables: { b: { [table.section]: 2 } },
            leaves: ["a", "c"],
          },
        ]
      : []),
  ]),
);
