import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readElf } from "../../../src/formats/elf/read.ts";
import type { TargetCode } from "../../../src/livepatch/build/match/match.ts";
import { moduleCode } from "../../../src/livepatch/build/match/target-code.ts";
import {
  type ExportedSymbol,
  type ResolveContext,
  resolveDestination,
} from "../../../src/livepatch/build/module/resolve.ts";

/** Links C files into one relocatable object, as a module is. */
function linked(name: string, ...sources: string[]): TargetCode {
  const folder = mkdtempSync(join(tmpdir(), "rekernel-test-"));
  try {
    const objects = sources.map((source, index) => {
      writeFileSync(join(folder, `${index}.c`), source);
      execFileSync("gcc", ["-O1", "-fno-PIE", "-c", `${index}.c`, "-o", `${index}.o`], { cwd: folder });
      return `${index}.o`;
    });
    execFileSync("ld", ["-r", "-o", "module.ko", ...objects], { cwd: folder });
    return moduleCode(readElf(readFileSync(join(folder, "module.ko"))), name);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const init = `__attribute__((section(".init.text"), used))`;
const used = "__attribute__((used))";
const core = linked("core", `int scale(void) { return 1; }`, `${used} static int scale(void) { return 2; }`);
const own = linked(
  "own",
  `${used} static int twice(void) { return 1; } int kstrdup(void) { return 3; } int plain;`,
  `${used} static int twice(void) { return 2; } ${init} static int enter(void) { return 0; }`,
  `${used} static int enter(void) { return 1; } ${used} static int leave(void) { return 1; }`,
  `${init} static int leave(void) { return 0; }`,
);
const kernel = linked(
  "vmlinux",
  "int kstrdup(void) { return 0; } int hidden; int kvm_only(void) { return 0; } int seq_puts(void) { return 0; }" +
    "void __SCT__open(void) { } int __SCK__open; void __SCT__closed(void) { }",
);

const exports = new Map<string, ExportedSymbol>([
  ["kstrdup", { module: "vmlinux", crc: 1, namespace: "" }],
  ["seq_puts", { module: "vmlinux", crc: 2, namespace: "SEQ" }],
  ["kvm_only", { module: "vmlinux", crc: 3, namespace: "module:kvm" }],
  ["scale", { module: "core", crc: 4, namespace: "CORE" }],
  ["__SCT__open", { module: "vmlinux", crc: 6, namespace: "" }],
  ["__SCK__open", { module: "vmlinux", crc: 7, namespace: "" }],
  ["__SCT__closed", { module: "vmlinux", crc: 8, namespace: "" }],
  ["foreign", { module: "stranger", crc: 5, namespace: "" }],
]);

function resolve(symbol: string, module: TargetCode | undefined, newGlobals: [string, string][] = []) {
  const context: ResolveContext = {
    vmlinux: kernel,
    module,
    match: { functions: new Map(), pieces: new Map(), symbols: new Map() },
    exports,
    moduleNamed: (name) => (name === "core" ? core : undefined),
    moduleNeeds: (user, other) => user === "own" && other === "core",
    newGlobals: new Map(newGlobals),
  };
  const binding = resolveDestination({ kind: "symbol", symbol, weak: false, addend: 0 }, context);
  return binding.kind === "unresolved" ? binding.problem.code : binding;
}

const klp = (relocatedFor: string, object: string, name: string, sympos = 0) => ({
  kind: "klp",
  relocatedFor,
  object,
  name,
  sympos,
});

test("exports of vmlinux are imported, with their namespaces; its other symbols are livepatch's", () => {
  expect(resolve("seq_puts", own)).toEqual({ kind: "export", name: "seq_puts", namespace: "SEQ" });
  expect(resolve("hidden", own)).toEqual(klp("vmlinux", "vmlinux", "hidden"));
  expect(resolve("hidden", undefined)).toEqual(klp("vmlinux", "vmlinux", "hidden"));
});

test("an export for some modules alone cannot be imported", () => {
  expect(resolve("kvm_only", own)).toEqual(klp("vmlinux", "vmlinux", "kvm_only"));
  expect(resolve("kvm_only", undefined)).toEqual(klp("vmlinux", "vmlinux", "kvm_only"));
});

test("a module's own symbol comes before an export of the same name, as the linker takes it", () => {
  expect(resolve("kstrdup", own)).toEqual(klp("own", "own", "kstrdup"));
  expect(resolve("kstrdup", undefined)).toMatchObject({ kind: "export" });
});

test("what another module exports is bound when the patched one comes, if that always needs it", () => {
  // The static function of that name stands first in the symbol table.
  expect(resolve("scale", own)).toEqual(klp("own", "core", "scale", 2));
  expect(resolve("scale", undefined)).toBe("RK-SYMBOL-OF-MODULE");
  expect(resolve("foreign", own)).toBe("RK-SYMBOL-OF-MODULE");
});

test("new globals of another unit are there only where their object is", () => {
  const bound = { kind: "export", name: "fresh", namespace: "" };
  expect(resolve("fresh", own, [["fresh", "vmlinux"]])).toEqual(bound);
  expect(resolve("fresh", own, [["fresh", "own"]])).toEqual(bound);
  expect(resolve("fresh", own, [["fresh", "core"]])).toEqual(bound);
  expect(resolve("fresh", undefined, [["fresh", "vmlinux"]])).toEqual(bound);
  expect(resolve("fresh", undefined, [["fresh", "own"]])).toBe("RK-SYMBOL-OF-MODULE");
  expect(resolve("fresh", core, [["fresh", "own"]])).toBe("RK-SYMBOL-OF-MODULE");
});

test("positions in a module's symbol table are those that livepatch counts, while it loads and after", () => {
  expect(own.symbolsNamed("plain").map(({ sympos }) => sympos)).toEqual([0]);
  expect(own.symbolsNamed("twice").map(({ sympos }) => sympos)).toEqual([1, 2]);
  // Before __init code of the same name the position stays; after it, it changes once that code is gone.
  expect(own.symbolsNamed("leave").map(({ sympos }) => sympos)).toEqual([1, 2]);
  expect(own.symbolsNamed("enter").map(({ sympos }) => sympos)).toEqual([1]);
});

test("a static call's trampoline is imported where the kernel finds its key by it", () => {
  expect(resolve("__SCT__closed", own)).toEqual({ kind: "export", name: "__SCT__closed", namespace: "" });
  expect(resolve("__SCT__open", own)).toEqual(klp("vmlinux", "vmlinux", "__SCT__open"));
  expect(resolve("__SCT__open", undefined)).toEqual(klp("vmlinux", "vmlinux", "__SCT__open"));
});
