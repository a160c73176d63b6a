import { type Pair, testPairs } from "./pair.ts";

/** One line changes in the patched object. */
const swap = (source: string, from: string, to: string) => ({ source, patched: source.replace(from, to) });

const keys = (branch: string) => `extern struct static_key key, other;
int fast(int x) { if (${branch}(&key)) printk("fast"); return x * 7; }
int slow(int x) { if (${branch}(&key)) printk("slow"); if (${branch}(&other)) x++; return x; }
`;
const loads = (
  table: string,
) => `ulong a(ulong *p) { ulong v; long e = 0; LOAD_WITH_FIXUP(v, p, e, -14, ${table}); return e ? 1 : v; }
ulong b(ulong *p) { ulong v; long e = 0; LOAD_WITH_FIXUP(v, p, e, -5, ${table}); LOAD_WITH_FIXUP(v, p + v, e, -6, ${table}); return e ? e : v; }
`;
const alternatives = (layout: string) => `int a(void) { ALTERNATIVE("nop", "pause", ${layout}(5)); return 1; }
int b(void) { ALTERNATIVE("nop", "cld", ${layout}(6)); ALTERNATIVE("nop;nop", "lfence", ${layout}(8)); return 2; }
int c(void) { ALTERNATIVE("call first", "call second", ${layout}(7)); return 3; }
`;
const features = `u8 caps[8]; extern void quick(void);
int a(int x) { if (static_cpu_has(&caps[1])) quick(); return x * 3; }
int b(int x) { if (static_cpu_has(&caps[2])) quick(); return x * 5; }
`;
const paravirt = `int a(void) { PARAVIRT(pv_a, 1, 3); return 1; }
int b(void) { PARAVIRT(pv_b, 2, 3); PARAVIRT(pv_c, 4, 3); return 2; }
int c(void) { PARAVIRT(pv_a, 1, 3); return 3; }
`;
const refcounts = `int r1, r2;
int a(int x) { REFCOUNT_INC(r1); return x * 3; }
int b(int x) { REFCOUNT_INC(r2); return x * 5; }
`;

testPairs("tables of code", [
  ...["static_branch", "static_branch_absolute"].flatMap((branch): Pair[] => [
    {
      name: `${branch}: another key in one function`,
      source: keys(branch),
      patched: keys(branch).replace('&key)) printk("slow', '&other)) printk("slow'),
      verdict: "patchable",
      changed: ["slow"],
      tables: { slow: { __jump_table: 2 } },
      leaves: ["fast"],
    },
    {
      name: `${branch}: entries go along with their function`,
      ...swap(keys(branch), "x * 7", "x * 9"),
      verdict: "patchable",
      changed: ["fast"],
      tables: { fast: { __jump_table: 1 } },
    },
    { name: `${branch}: nothing`, source: keys(branch), verdict: "unchanged" },
  ]),
  ...["EXTABLE_2", "EXTABLE_HANDLER(ex_handler_default)"].flatMap((table): Pair[] => [
    {
      name: `.fixup and ${table}: another fixup`,
      ...swap(loads(table), "e, -5", "e, -7"),
      verdict: "patchable",
      changed: ["b"],
    },
    {
      name: `.fixup and ${table}: entries go along`,
      ...swap(loads(table), "e ? 1", "e ? 2"),
      verdict: "patchable",
      changed: ["a"],
      tables: { a: { __ex_table: 1 } },
      brings: [".fixup+0x0"],
      leaves: ["b", ".fixup+0xc"],
    },
    { name: `.fixup and ${table}: nothing`, source: loads(table), verdict: "unchanged" },
  ]),
  {
    name: "exceptions with a type: another type",
    ...swap(
      "ulong a(ulong *p) { ulong v; LOAD_WITH_TYPE(v, p, 3); return v; }\nulong b(ulong *p) { ulong v; LOAD_WITH_TYPE(v, p, 4); return v; }\n",
      "p, 4",
      "p, 5",
    ),
    verdict: "patchable",
    changed: ["b"],
    tables: { b: { __ex_table: 1 } },
  },
  {
    name: "an exception's handler",
    ...swap(
      loads("EXTABLE_HANDLER(ex_handler_default)"),
      "-14, EXTABLE_HANDLER(ex_handler_default)",
      "-14, EXTABLE_HANDLER(ex_handler_ext)",
    ),
    verdict: "patchable",
    changed: ["a"],
  },
  ...["ALT_12", "ALT_13", "ALT_14"].flatMap((layout): Pair[] => [
    {
      name: `alternatives, ${layout}: another replacement`,
      ...swap(alternatives(layout), '"cld"', '"clc"'),
      verdict: "patchable",
      changed: ["b"],
      tables: { b: { ".altinstructions": 2 } },
    },
    {
      name: `alternatives, ${layout}: another feature`,
      ...swap(alternatives(layout), `${layout}(5)`, `${layout}(9)`),
      verdict: "patchable",
      changed: ["a"],
      tables: { a: { ".altinstructions": 1 } },
      leaves: ["b", "c"],
    },
    {
      name: `alternatives, ${layout}: another callee in the replacement`,
      ...swap(alternatives(layout), "call second", "call third"),
      verdict: "patchable",
      changed: ["c"],
    },
    { name: `alternatives, ${layout}: nothing`, source: alternatives(layout), verdict: "unchanged" },
  ]),
  { name: ".altinstr_aux: nothing", source: features, verdict: "unchanged" },
  {
    name: ".altinstr_aux: another byte of features",
    ...swap(features, "&caps[2]", "&caps[3]"),
    verdict: "patchable",
    changed: ["b"],
  },
  {
    name: ".altinstr_aux: entries go along",
    ...swap(features, "x * 5", "x * 9"),
    verdict: "patchable",
    changed: ["b"],
    leaves: ["a", ".altinstr_aux+0x0"],
  },
  {
    name: ".smp_locks: entries go along",
    ...swap(
      'int a(void) { LOCK("incl 4(%rdi)"); return 1; }\nint b(void) { LOCK("incl 8(%rdi)"); LOCK("decl 8(%rdi)"); return 2; }\n',
      "return 2",
      "return 5",
    ),
    verdict: "patchable",
    changed: ["b"],
    tables: { b: { ".smp_locks": 2 } },
  },
  {
    name: ".parainstructions: entries go along, the last one unpadded",
    ...swap(paravirt, "return 2", "return 5"),
    verdict: "patchable",
    changed: ["b"],
    tables: { b: { ".parainstructions": 2 } },
  },
  {
    name: ".parainstructions: another type",
    ...swap(paravirt, "PARAVIRT(pv_a, 1, 3); return 3", "PARAVIRT(pv_a, 9, 3); return 3"),
    verdict: "patchable",
    changed: ["c"],
    tables: { c: { ".parainstructions": 1 } },
  },
  { name: ".text..refcount: nothing", source: refcounts, verdict: "unchanged" },
  {
    name: ".text..refcount: its code goes along",
    ...swap(refcounts, "x * 5", "x * 9"),
    verdict: "patchable",
    changed: ["b"],
    leaves: ["a", ".text..refcount+0x0"],
  },
  {
    name: "a function with fixups that ftrace cannot hook is carried by its callers",
    ...swap(
      `#define quiet __attribute__((no_instrument_function)) noinline
static quiet ulong a(ulong *p) { ulong v; long e = 0; LOAD_WITH_FIXUP(v, p, e, -14, EXTABLE_2); return e ? 1 : v; }
int f(ulong *p) { return a(p) + 3; }
`,
      "e ? 1",
      "e ? 2",
    ),
    verdict: "patchable",
    changed: ["f"],
    brings: ["a", ".fixup+0x0"],
  },
  {
    name: ".kcfi_traps go along",
    ...swap(
      'int a(int x) { asm volatile(SITE(".kcfi_traps") "ud2"); return x; }\nint b(int x) { asm volatile(SITE(".kcfi_traps") "ud2"); return x * 2; }\n',
      "x * 2",
      "x * 3",
    ),
    verdict: "patchable",
    changed: ["b"],
    tables: { b: { ".kcfi_traps": 1 } },
  },
] satisfies Pair[]);

const objtoolSections = [
  ".retpoline_sites",
  ".return_sites",
  ".call_sites",
  ".ibt_endbr_seal",
  ".cfi_sites",
  ".orc_unwind_ip",
  ".discard.reachable",
  ".discard.unreachable",
  ".discard.instr_begin",
  ".discard.retpoline_safe",
  ".discard.annotate_insn",
  "_kprobe_blacklist",
];

testPairs("tables that say nothing by themselves", [
  ...objtoolSections.map(
    (section): Pair => ({
      name: section,
      source: `int a(int x) {\n#ifdef PATCHED\nasm volatile(SITE("${section}"));\n#endif\nreturn x; }\nint b(int x) { asm volatile(SITE("${section}")); return x * 2; }\n`,
      verdict: "unchanged",
    }),
  ),
  {
    name: ".discard entries of no regular size",
    source: `int a(int x) {\nasm volatile("1: .pushsection .discard.odd\\n .long 1b - .\\n .byte 1\\n .quad 1b\\n .popsection");\nasm volatile("1: .pushsection .discard.odd\\n .byte 3,4,5\\n .long 1b - .\\n .popsection");\nreturn x; }\n`,
    verdict: "unchanged",
  },
  {
    name: ".static_call_sites, with the call itself in the code",
    source:
      "int a(int x) { STATIC_CALL(one); return x; }\nint b(int x) {\n#ifdef PATCHED\nSTATIC_CALL(two);\n#else\nSTATIC_CALL(one);\n#endif\nreturn x * 2; }\n",
    verdict: "patchable",
    changed: ["b"],
  },
  {
    name: ".orc_unwind, .orc_header, .modinfo, notes and BTF",
    source: `#ifdef PATCHED
#define SIDE "1, 2, 3, 4, 5, 6"
#else
#define SIDE "7, 8, 9, 1, 2, 3"
#endif
#define SECTION(name) asm(".pushsection " name ", \\"a\\"\\n .byte " SIDE "\\n .popsection");
SECTION(".orc_unwind") SECTION(".orc_header") SECTION(".modinfo") SECTION(".note.gnu.property") SECTION(".note.Linux") SECTION(".BTF")
SECTION(".export_symbol") SECTION("__ksymtab_strings") SECTION("___ksymtab+a") SECTION("___kcrctab+a") SECTION("__patchable_function_entries")
int a(int x) { return x; }
`,
    verdict: "unchanged",
  },
  {
    name: "padding in front of a function that has a name of its own",
    source: `int a(int x) { return x * 2; }
int padded(int x);
asm(".pushsection .text.padded, \\"ax\\"\\n.type __pfx_padded, @function\\n__pfx_padded: .fill 16, 1, 0x90\\n.size __pfx_padded, 16\\n"
".globl padded\\n.type padded, @function\\npadded: 1: call __fentry__\\n.pushsection __mcount_loc, \\"a\\"\\n.quad 1b\\n.popsection\\n"
#ifdef PATCHED
"mov $5, %eax\\n"
#else
"mov $4, %eax\\n"
#endif
"ret\\n.size padded, . - padded\\n.popsection");
`,
    verdict: "patchable",
    changed: ["padded"],
  },
  {
    name: "kCFI, with types in front of functions",
    ...swap(
      'static noinline int handler(int x) { printk("%d", x); return x * 3; }\nint (*address)(int) = handler;\nint f(int x) { return address(x) + 1; }\nint g(int x) { return address(x) + 2; }\n',
      "+ 2",
      "+ 5",
    ),
    flags: ["-fsanitize=kcfi"],
    only: "clang",
    since: 16,
    verdict: "patchable",
    changed: ["g"],
    tables: { g: { ".kcfi_traps": 1 } },
    leaves: ["f", "handler"],
  },
  {
    name: "static calls: the trampoline's own section",
    source: `asm(".pushsection .static_call.text, \\"ax\\"\\n.globl __SCT__one\\n.type __SCT__one, @function\\n__SCT__one: jmp one\\n.byte 0x0f, 0xb9, 0xcc\\n.size __SCT__one, . - __SCT__one\\n.popsection");
int f(int x) { STATIC_CALL(one); return x * 2; }
`,
    patched: `asm(".pushsection .static_call.text, \\"ax\\"\\n.globl __SCT__one\\n.type __SCT__one, @function\\n__SCT__one: jmp one\\n.byte 0x0f, 0xb9, 0xcc\\n.size __SCT__one, . - __SCT__one\\n.popsection");
int f(int x) { STATIC_CALL(one); return x * 3; }
`,
    verdict: "patchable",
    changed: ["f"],
    leaves: ["__SCT__one"],
  },
  {
    name: "a call of the tracer that has become a NOP, known by __mcount_loc",
    source: `int nop(int x);
asm(".pushsection .text.nop, \\"ax\\"\\n.globl nop\\n.type nop, @function\\nnop: 1: .byte 0x0f, 0x1f, 0x44, 0, 0\\n.pushsection __mcount_loc, \\"a\\"\\n.quad 1b\\n.popsection\\n"
#ifdef PATCHED
"mov $5, %eax\\n"
#else
"mov $4, %eax\\n"
#endif
"ret\\n.size nop, . - nop\\n.popsection");
`,
    verdict: "patchable",
    changed: ["nop"],
  },
] satisfies Pair[]);
