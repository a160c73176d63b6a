import { describe, expect, it } from "vitest";
import { differenceOf } from "../../../src/livepatch/build/difference/difference.ts";
import { includedPieces } from "../../../src/livepatch/build/module/inclusion.ts";
import { diffObjects } from "../../../src/livepatch/build/object-diff.ts";
import { compile, kernelMacros } from "./compile.ts";
import { compileUnit } from "./types/compile-with-debug-info.ts";

/** Functions and data as drivers have them. */
const kernel = `
struct ops { int (*open)(int); int (*ioctl)(int); long flags; };
struct device { const char *name; const struct ops *ops; };
int register_device(struct device *dev);
int misc_register(const struct ops *ops);
void consume(const void *data, int size);
void *memcpy(void *to, const void *from, ulong size);
extern int sink;
static noinline int foo_open(int x) { return x + 1; }
static noinline int foo_ioctl(int x) { return x * 2; }
static noinline int foo_ioctl2(int x) { return x * 3; }
int keep(int x) { return foo_open(x) + foo_ioctl(x) + foo_ioctl2(x); }
`;

function compare(before: string, from: string, to: string) {
  expect(before).toContain(from);
  const [original, patched] = [compile(kernel + before), compile(kernel + before.replace(from, to))];
  const difference = differenceOf(original, patched);
  return {
    ...difference,
    names: difference.changed.map(({ patched: piece }) => piece.name),
    included: includedPieces(difference, patched, () => true).map(({ piece }) => piece.name),
    messages: difference.problems.map(({ message }) => message).join("\n"),
  };
}

const ops = "static const struct ops foo_ops = { .open = foo_open, .ioctl = foo_ioctl, .flags = 1 };\n";
const changeOps = ["foo_ioctl, .flags", "foo_ioctl2, .flags"] as const;

describe("read-only data that only functions of the unit read", () => {
  it("goes along with them", () => {
    const difference = compare(
      "static const int table[4] = {1, 2, 3, 4};\nint look(int i) { return table[i & 3]; }\n",
      "3, 4}",
      "3, 5}",
    );
    expect(difference).toMatchObject({ verdict: "patchable", names: ["look"], cautions: [] });
    expect(difference.included).toContain("table");
  });

  it("may be a function's name, which messages and debugging descriptors hold", () => {
    const difference = compare(
      "struct note { const char *function; };\nvoid log(const struct note *);\n" +
        "static inline int old_name(int x) { static struct note descriptor = { __func__ }; log(&descriptor); return x; }\n" +
        "int work(int x) { return old_name(x); }\n",
      "static inline int old_name(int x) {",
      "#define old_name newer_name\nstatic inline int old_name(int x) {",
    );
    expect(difference).toMatchObject({ problems: [], cautions: [] });
  });

  it("may be a table that one entry is chosen from", () => {
    const table =
      "struct quirk { const char *board; long data; };\nconst struct quirk *dmi_first_match(const struct quirk *list);\n" +
      'static const struct quirk quirks[] = { { "one", 1 }, { "two", 2 }, { 0, 0 } };\nlong state;\n';
    const change = ['{ "two", 2 }, ', '{ "two", 2 }, { "three", 3 }, '] as const;
    const use =
      "{ const struct quirk *found = dmi_first_match(quirks); if (found) state = found->data; return 0; }\n";
    expect(compare(`${table}int look(void) ${use}`, ...change)).toMatchObject({
      names: ["look"],
      problems: [],
      cautions: [],
    });
    // The start has made its choice.
    expect(compare(`${table}int __init start(void) ${use}`, ...change).problems).toMatchObject([
      { code: "RK-INIT-CHANGE", subject: "start" },
    ]);
    const kept = `${table}const struct quirk *chosen;\nvoid __init start(void) { chosen = dmi_first_match(quirks); }\n`;
    expect(compare(kept, ...change).problems.map(({ code }) => code)).toContain("RK-DATA-CHANGE");
  });

  it("may be walked through by a pointer", () => {
    const difference = compare(
      'static const int table[40] = {1, 2, 3, 4};\nint sum(int n) { int s = 0; for (const int *p = table; p < table + 40; p++) { if (*p == n) return s; s += *p * printk("%d", *p); } return s; }\n',
      "3, 4}",
      "3, 5}",
    );
    expect(difference).toMatchObject({ verdict: "patchable", names: ["sum"], cautions: [] });
  });

  it("may be read through another table, which goes along too", () => {
    const difference = compare(
      "static const int inner[2] = {1, 2};\nstatic const int *const outer[2] = { inner, 0 };\nint look(int i, int j) { return outer[i & 1][j & 1]; }\n",
      "{1, 2}",
      "{1, 3}",
    );
    expect(difference).toMatchObject({ verdict: "patchable", names: ["look"] });
    expect(difference.included).toEqual(expect.arrayContaining(["look", "inner", "outer"]));
  });

  it("may be handed to a function that reads it and no more", () => {
    const source = `static const char magic[24] = "abcdefghijklmnopqrstuv";\nvoid fill(char *to, int n) { memcpy(to, magic, n & 15); }\n`;
    expect(compare(source, "abcdef", "abcdeg")).toMatchObject({ names: ["fill"], cautions: [] });
  });

  it("may be handed to a function of the unit that reads it and no more", () => {
    const source = `static noinline int nth(const int *table, int i) { return table[i]; }\nstatic const int a[4] = {1, 2, 3, 4}, b[4] = {5, 6, 7, 8};\nint fromA(int i) { return nth(a, i); }\nint fromB(int i) { return nth(b, i); }\n`;
    expect(compare(source, "7, 8}", "7, 9}")).toMatchObject({ names: ["fromB"], cautions: [] });
  });

  it("may be removed, and new one added", () => {
    const source = "static const int table[4] = {1, 2, 3, 4};\nint look(int i) { return table[i & 3]; }\n";
    expect(compare(source, source, "int look(int i) { return i & 3; }\n")).toMatchObject({ names: ["look"] });
    const added = compare(
      source,
      source,
      `static const int other[4] = {9, 8, 7, 6};\n${source.replace("table[i & 3]", "table[other[i & 3] & 3]")}`,
    );
    expect(added).toMatchObject({ names: ["look"] });
    expect(added.included).toContain("other");
  });

  it("is cautioned about where a function that nothing is known of gets it", () => {
    const difference = compare(
      "static const int sequence[8] = {1, 2, 3, 4};\nvoid start(void) { consume(sequence, 8); }\n",
      "3, 4}",
      "3, 5}",
    );
    expect(difference).toMatchObject({ verdict: "patchable", names: ["start"] });
    expect(difference.cautions).toEqual([
      expect.objectContaining({
        code: "RK-CAUTION-DATA-PASSED",
        message: expect.stringMatching(
          /sequence .*offset 12: 4 becomes 5.*start\(\) hands its address to consume\(\)/,
        ),
      }),
    ]);
  });
});

describe("read-only data whose address others hold", () => {
  it("a structure of the unit: the message names it, the offset and who registers it", () => {
    const difference = compare(
      `${ops}static struct device foo_device = { .name = "foo", .ops = &foo_ops };\nint foo_probe(void) { return register_device(&foo_device); }\n`,
      ...changeOps,
    );
    expect(difference.problems).toEqual([
      expect.objectContaining({
        code: "RK-DATA-CHANGE",
        message: expect.stringMatching(
          /^The content of foo_ops \(.*offset 8: foo_ioctl becomes foo_ioctl2\) changes\. foo_device.* holds its address, and foo_probe\(\) hands that to register_device\(\)/,
        ),
        hint: expect.stringContaining("foo_ioctl()"),
      }),
    ]);
  });

  it("a function that is called to keep it", () => {
    const difference = compare(
      `${ops}int foo_probe(void) { return misc_register(&foo_ops); }\n`,
      ...changeOps,
    );
    expect(difference.messages).toContain("foo_probe() hands its address to misc_register()");
  });

  it("an object that a function writes it to", () => {
    const difference = compare(
      `${ops}void foo_probe(struct device *dev) { dev->ops = &foo_ops; }\n`,
      ...changeOps,
    );
    expect(difference.messages).toContain("foo_probe() writes its address into an object, at offset 8");
  });

  it("the same through a function of the unit", () => {
    const difference = compare(
      `${ops}static noinline void attach(struct device *dev, const struct ops *ops) { dev->ops = ops; }\nvoid a(struct device *dev) { attach(dev, &foo_ops); }\nvoid b(struct device *dev) { attach(dev, 0); }\n`,
      ...changeOps,
    );
    expect(difference.messages).toContain("writes its address into an object");
  });

  it("the callers of a static function that returns it", () => {
    const difference = compare(
      `static const long plain[4] = {1, 2, 3, 4};\nstatic noinline const void *choose(int x) { if (x) printk("x"); return x > 2 ? plain : 0; }\nvoid probe(struct device *dev, int x) { dev->ops = choose(x); }\n`,
      "3, 4}",
      "3, 5}",
    );
    expect(difference.messages).toContain("probe() writes its address into an object, at offset 8");
  });

  it("operations in a constant that a function declares for itself", () => {
    const difference = compare(
      "int foo_probe(void) { static const struct ops local_ops = { .ioctl = foo_ioctl, .flags = 2 }; return misc_register(&local_ops); }\n",
      ...changeOps,
    );
    expect(difference).toMatchObject({ verdict: "refused" });
    expect(difference.messages).toContain("The content of local_ops");
  });

  it("functions that have run while the kernel started", () => {
    const difference = compare(
      `${ops}int __init foo_init(void) { return misc_register(&foo_ops); }\n`,
      ...changeOps,
    );
    expect(difference.problems.map(({ code }) => code)).toEqual(["RK-DATA-CHANGE"]);
    expect(difference.messages).toContain("foo_init() hands its address to misc_register()");
  });

  it("other units, which know its name", () => {
    const difference = compare(
      "const int levels[2] = {1, 2};\nint level(int i) { return levels[i & 1]; }\n",
      "{1, 2}",
      "{1, 3}",
    );
    expect(difference.messages).toContain("Other units may hold its address, for levels is global");
    expect(difference.problems[0]!.hint).toContain("static copy");
  });

  it("a table of devices: the hint tells of new_id", () => {
    const difference = compare(
      `static const struct ops foo_ids[2] = { { .flags = 0x1234 } };\nextern const struct ops __mod_pci__foo_ids_device_table[2] __attribute__((alias("foo_ids")));\nstatic struct device foo_driver = { .name = "foo", .ops = foo_ids };\nint foo_init(void) { return register_device(&foo_driver); }\n`,
      "0x1234",
      "0x1235",
    );
    expect(difference.messages).toMatch(/^The content of foo_ids .*foo_driver.*holds its address/);
    expect(difference.messages).not.toContain("__mod_pci");
    expect(difference.problems[0]!.hint).toContain("new_id");
  });

  it("a table that grew or shrank", () => {
    const difference = compare(
      `static const struct ops foo_list[2] = { { .flags = 1 }, { .flags = 2 } };\nstatic struct device foo_device = { .ops = foo_list };\nint foo_probe(void) { return register_device(&foo_device); }\n`,
      "foo_list[2]",
      "foo_list[3]",
    );
    expect(difference.messages).toContain("The size of foo_list (48 bytes) becomes 72");
  });

  it("strings in an array that can be written", () => {
    const difference = compare(
      `static const char *names[] = { "first", "second" };\nconst char *name(int i) { return names[i & 1]; }\nvoid rename(const char *s) { names[0] = s; }\n`,
      '"second"',
      '"other"',
    );
    expect(difference.messages).toContain('offset 8: "second" becomes "other"');
  });
});

describe("data that the kernel may have written to", () => {
  const use = "int get(void) { return value; }\nvoid set(int x) { value = x; }\n";
  const section = (name: string) => `__attribute__((section("${name}")))`;

  it("a changed initialiser: the hint shows the callback that sets it", () => {
    const difference = compare(`static int value = 10;\n${use}`, "= 10", "= 20");
    expect(difference.problems).toEqual([
      expect.objectContaining({
        code: "RK-DATA-CHANGE",
        message: expect.stringContaining("The content of value (10 becomes 20) changes"),
        hint: expect.stringContaining(
          "static int set_value(struct klp_object *obj) { value = 20; return 0; }\nREKERNEL_PRE_PATCH(set_value);",
        ),
        subject: "value",
      }),
    ]);
  });

  it("an initialiser that comes or goes, with the section", () => {
    expect(compare(`static int value;\n${use}`, "value;", "value = 20;").messages).toContain("0 becomes 20");
    expect(compare(`static int value = 20;\n${use}`, " = 20", "").messages).toContain("20 becomes 0");
  });

  it("another size, of which nobody can say that it does no harm", () => {
    const difference = compare(
      "static int values[4];\nint get(int i) { return values[i]; }\nvoid set(int i) { values[i] = i; }\n",
      "values[4]",
      "values[8]",
    );
    expect(difference.messages).toContain("The size of values (16 bytes) becomes 32");
    expect(difference.problems[0]!.subject).toBeUndefined();
  });

  it("a per-CPU variable", () => {
    const source = `static int value ${section(".data..percpu")} = 10;\n${use}`;
    expect(compare(source, "= 10", "= 20").problems[0]!.hint).toContain("per_cpu(value, cpu) = 20;");
    expect(compare(source, section(".data..percpu"), "").messages).toContain(
      "no longer is a per-CPU variable",
    );
  });

  it("read-only after the start", () => {
    const source = `static int value ${section(".data..ro_after_init")} = 10;\nint get(void) { return value; }\nvoid __init set(int x) { value = x; }\n`;
    expect(compare(source, "= 10", "= 20").problems[0]!.hint).toContain("read-only after it started");
    expect(compare(source, section(".data..ro_after_init"), "").messages).toContain("becomes writable");
  });

  it("a section that only says how it is cached is no change", () => {
    const source = `static int value ${section(".data..read_mostly")} = 10;\n${use}`;
    expect(compare(source, section(".data..read_mostly"), "")).toMatchObject({ problems: [] });
  });

  it("a constant that becomes a variable", () => {
    const difference = compare(
      "static const int value[4] = {10};\nint get(int i) { return value[i & 3]; }\n",
      "const int value[4] = {10};\n",
      "int value[4] = {10};\nvoid set(int x) { value[x & 3] = x; }\n",
    );
    expect(difference.messages).toContain("value becomes writable");
  });

  it("a variable that becomes a constant of the same content is no change", () => {
    const source = "static volatile int value = 10;\nint get(void) { return value; }\n";
    expect(compare(source, "static volatile", "static const volatile")).toMatchObject({ problems: [] });
  });

  it("data of the start that is kept from now on", () => {
    const source = `static int value ${section(".init.data")} = 10;\nint __init get(void) { return value++; }\n`;
    const difference = compare(source, section(".init.data"), "");
    expect(difference.problems).toContainEqual(
      expect.objectContaining({
        code: "RK-INIT-CHANGE",
        message: expect.stringContaining("no longer is __init data"),
      }),
    );
  });

  it("data of the start, and a module's parameters", () => {
    const source = `static int value ${section(".init.data")} = 10;\nint __init get(void) { return value++; }\n`;
    expect(compare(source, "= 10", "= 20").problems).toEqual([
      expect.objectContaining({ code: "RK-INIT-CHANGE", message: expect.stringContaining("10 becomes 20") }),
    ]);
    const parameter = `static const long __param_debug ${section("__param")} __attribute__((used)) = 0644;\n`;
    expect(compare(parameter, "0644", "0600").problems).toEqual([
      expect.objectContaining({ code: "RK-INIT-CHANGE", hint: expect.stringContaining("/sys/module/") }),
    ]);
  });

  it("new variables come along, removed ones stay behind", () => {
    const added = compare("int get(int x) { return x; }\n", "return x;", "static int n; return x + n++;");
    expect(added).toMatchObject({ verdict: "patchable", names: ["get"] });
    expect(added.included.some((name) => name.startsWith("n."))).toBe(true);
    expect(
      compare(
        `static int value = 10;\n${use}`,
        `static int value = 10;\n${use}`,
        "int get(void) { return 1; }\nvoid set(int x) { }\n",
      ).problems,
    ).toEqual([]);
  });
});

describe("with debug information", () => {
  const described = (from: string, to: string) => {
    const source = `${kernelMacros}${kernel}struct id { unsigned short vendor, device; };\nstruct card { const char *name; struct { const struct ops *ops; const struct id *ids; }; };\n${ops}static const struct id foo_ids[3] = { { 1, 2 }, { 3, 4 } };\nstatic struct card foo_card = { .name = "foo", .ops = &foo_ops, .ids = foo_ids };\nint foo_init(void) { return register_device((void *)&foo_card); }\n`;
    expect(source).toContain(from);
    const [before, after] = [compileUnit(source), compileUnit(source.replace(from, to))];
    return diffObjects(before, after, { original: "a.o", patched: "b.o" }).reasons.filter(({ code }) => code);
  };

  it("names the type, the member that changes, and the one that holds the address, with its place", () => {
    const [found, ...others] = described(...changeOps);
    expect(others).toEqual([]);
    expect(found!.reason).toMatch(
      /^The content of foo_ops \(struct ops; \.ioctl at offset 8: foo_ioctl becomes foo_ioctl2\) changes\. foo_card\.ops \(fs\/unit\.c:\d+\) holds its address, and foo_init\(\) hands that to register_device\(\)/,
    );
    expect(found!.source).toMatch(/^fs\/unit\.c:\d+$/);
  });

  it("counts elements of arrays, and reads numbers in their own size", () => {
    expect(described("{ 3, 4 }", "{ 3, 5 }")[0]!.reason).toMatch(
      /foo_ids \(struct id\[3\]; \[1\]\.device at offset 6: 4 becomes 5\) changes\. foo_card\.ids /,
    );
  });
});
