import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readElf } from "../../../src/formats/elf/read.ts";
import { auditTables } from "../../../src/livepatch/build/module/audit-tables.ts";
import { compileBytes } from "./compile.ts";

const unit = `extern struct static_key key;
int a(int x) { if (x < 0) WARN(1); ALTERNATIVE("nop", "pause", 5); return x + 1; }
int b(int x) { if (static_branch(&key)) WARN(3); return x; }
`;
const other = "int c(int x) { if (x < 3) WARN(1); return x; }\n";

/** What the glue of a live patch holds, in one section as the kernel's linker script leaves it (include/linux/livepatch.h, the first three members of each). */
const glue = (functions: readonly string[]) => `
#define DATA __attribute__((section(".data")))
struct klp_func { const char *old_name; void *new_func; ulong old_sympos; void *rest[8]; };
struct klp_object { const char *name; struct klp_func *funcs; void *rest[8]; };
${functions.map((name) => `int ${name}(int);`).join("\n")}
DATA struct klp_func funcs[${functions.length + 1}] = { ${functions.map((name) => `{ "${name}", ${name} }`).join(", ")} };
DATA struct klp_object objects[2] = { { 0, funcs } };
`;
const planned = (...functions: string[]) => [
  { module: undefined, functions: functions.map((oldName) => ({ oldName, sympos: 0 })) },
];

/** Links objects into one, as kbuild does with a module. */
function link(...objects: Uint8Array[]): Uint8Array {
  const folder = mkdtempSync(join(tmpdir(), "rekernel-test-"));
  try {
    const names = objects.map((bytes, index) => {
      writeFileSync(join(folder, `${index}.o`), bytes);
      return `${index}.o`;
    });
    execFileSync("ld", ["-r", "-o", "module.o", ...names], { cwd: folder });
    return readFileSync(join(folder, "module.o"));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const audit = (module: Uint8Array, units: Uint8Array[], ...functions: string[]) =>
  auditTables(readElf(module, "module"), { units, objects: planned(...functions) });

describe("the audit of a module's tables", () => {
  const [first, second] = [compileBytes(unit), compileBytes(other)];
  const functions = ["a", "b", "c"];
  const module = link(compileBytes(glue(functions)), first, second);

  it("finds what was planned", () => {
    expect(audit(module, [first, second], ...functions)).toEqual([]);
  });

  it("finds entries that got lost, and entries too many", () => {
    expect(audit(module, [first], ...functions)).toEqual(["__bug_table has 3 entries instead of 2"]);
    expect(audit(link(compileBytes(glue(["c"])), second), [first, second], "c")).toEqual([
      "__bug_table has 1 entries instead of 3",
      "__jump_table has 0 entries instead of 1",
      ".altinstructions has 0 entries instead of 1",
    ]);
  });

  it("finds entries that belong to no code of the module", () => {
    const bytes = Buffer.from(module);
    const elf = readElf(bytes, "module");
    const table = elf.section("__bug_table")!;
    const rela = elf.sections.find((section) => section.name === ".rela__bug_table")!;
    const undefinedSymbol = elf.symbols.findIndex(({ name }) => name === "key");
    // The first entry's place becomes one of another object: r_info is 32 bits of type, then 32 bits of symbol.
    bytes.writeUInt32LE(undefinedSymbol, rela.offset + 12);
    expect(table.size).toBe(36);
    expect(audit(bytes, [first, second], ...functions).join()).toMatch(/__bug_table/);
  });

  it("finds functions that are missing in the list, and ones that were not planned", () => {
    expect(audit(module, [first, second], "a", "b", "d")).toEqual([
      "it does not replace vmlinux:d,0",
      "it replaces vmlinux:c,0, which was not planned",
    ]);
  });
});
