import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { documents } from "../../../src/documents/documents.ts";
import { diffObjects } from "../../../src/livepatch/build/object-diff.ts";
import { compileBytes, compileWith } from "./compile.ts";

const source = `
int limit = 10;
static noinline int helper(int x) { return x * 3 + limit; }
int check(int x) { if (x > 5) WARN(1); return helper(x); }
`;
const diff = (patched: string, original = source) =>
  diffObjects(compileBytes(original), compileBytes(patched), { original: "a.o", patched: "b.o" });

describe("the difference of two objects by itself", () => {
  it("names what changes, what is new and what comes along", () => {
    const patched = source
      .replace(
        "int check",
        "static noinline int twice(int x) { static int n; return x * 2 + n++; }\nint check",
      )
      .replace("helper(x)", "helper(twice(x))");
    expect(diff(patched)).toMatchObject({
      verdict: "patchable",
      changed: ["check"],
      new: ["twice"],
      reasons: [{ name: "check" }],
      included: expect.arrayContaining([
        expect.objectContaining({
          name: "check",
          tables: expect.objectContaining({ __bug_table: 1, __mcount_loc: 1 }),
        }),
      ]),
    });
  });

  it("takes new global functions along, for the units that call them", () => {
    const added = 'void announce(void) { printk("new\\n"); }\n';
    expect(diff(source + added)).toMatchObject({ verdict: "patchable", changed: [], new: ["announce"] });
    const unused = "static inline int unused(void) { return 1; }\n";
    expect(diff(source + unused)).toMatchObject({ verdict: "unchanged", new: [] });
  });

  it("is unchanged, or refused with codes", () => {
    expect(diff(source)).toMatchObject({ verdict: "unchanged", changed: [], new: [], reasons: [] });
    expect(diff(source.replace("limit = 10", "limit = 20"))).toMatchObject({
      verdict: "refused",
      reasons: [{ code: "RK-DATA-CHANGE" }],
    });
  });

  it("cautions of what the author has to judge", () => {
    const loop = source.replace(
      "int check",
      "int kthread_should_stop(void);\nint serve(void *data) { while (!kthread_should_stop()) limit++; return 0; }\nint check",
    );
    expect(diff(loop.replace("limit++", "limit--"), loop)).toMatchObject({
      verdict: "patchable",
      changed: ["serve"],
      cautions: [{ code: "RK-CAUTION-NEVER-LEFT" }],
    });
    expect(diff(source.replace("x > 5", "x > 6")).cautions).toEqual([]);
  });

  it("carries functions that ftrace cannot hook through their callers", () => {
    const untraced = source.replace(
      "static noinline",
      "static noinline __attribute__((no_instrument_function))",
    );
    expect(diff(untraced.replace("x * 3", "x * 5"), untraced)).toMatchObject({
      verdict: "patchable",
      changed: ["check"],
      included: expect.arrayContaining([
        expect.objectContaining({ name: "helper", reason: "changed, needed by check" }),
      ]),
    });
  });

  it("refuses them where others may call them", () => {
    const untraced = source.replace("int check", "__attribute__((no_instrument_function)) int check");
    expect(diff(untraced.replace("x > 5", "x > 6"), untraced)).toMatchObject({
      verdict: "refused",
      reasons: [{ code: "RK-NO-FENTRY" }],
    });
  });
});

describe("objects that cannot be compared", () => {
  const refusal = (message: string) =>
    expect.objectContaining({
      code: "RK-BAD-OBJECT",
      exitCode: 1,
      message: expect.stringContaining(message),
    });

  it("are those without machine code, which would all be the same", () => {
    const slim = compileWith("gcc", ["-flto"], source);
    expect(() => diffObjects(slim, slim, { original: "a.o", patched: "b.o" })).toThrow(
      refusal("a.o is not an object that can be compared: it holds the compiler's intermediate code"),
    );
    const fat = compileWith("gcc", ["-flto", "-ffat-lto-objects"], source.replace("x > 5", "x > 6"));
    expect(diffObjects(compileBytes(source), fat, { original: "a.o", patched: "b.o" })).toMatchObject({
      verdict: "patchable",
      changed: ["check"],
    });
  });

  it("are programs", () => {
    const program = readFileSync("/bin/true");
    expect(() => diffObjects(program, program, { original: "a.o", patched: "b.o" })).toThrow(
      refusal("it is not a relocatable object"),
    );
  });
});

describe("rekernel patch diff", () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "rekernel-test-"));
    writeFileSync(join(folder, "a.o"), compileBytes(source));
    writeFileSync(join(folder, "b.o"), compileBytes(source.replace("x > 5", "x > 6")));
    writeFileSync(join(folder, "c.o"), compileBytes(source.replace("limit = 10", "limit = 20")));
    writeFileSync(join(folder, "cut.o"), compileBytes(source).subarray(0, 300));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const program = join(import.meta.dirname, "../../../bin/rekernel");
  const run = (name: string, ...options: string[]) =>
    spawnSync(program, ["patch", "diff", join(folder, "a.o"), join(folder, name), ...options], {
      encoding: "utf8",
    });

  it.each([
    ["b.o", "patchable", ["check"]],
    ["a.o", "unchanged", []],
    ["c.o", "refused", []],
  ])("a.o and %s: the document says %s", (name, verdict, changed) => {
    const document = JSON.parse(run(name, "--json").stdout);
    documents["rekernel patch diff"]!.parse(document);
    expect(document).toMatchObject({ verdict, changed, new: [], reasons: expect.any(Array) });
  });

  it("tells people the same, with all of a hint below its reason", () => {
    expect(run("a.o").stdout).toBe("No functional change.\n");
    expect(run("b.o").stdout).toMatch(/^Patchable\.\n {2}check: its instructions differ\n/);
    const { stdout } = run("c.o");
    expect(stdout).toMatch(/^Cannot be patched\.\n {2}RK-DATA-CHANGE: .*limit/);
    expect(stdout).toMatch(/\n {4}static int set_limit\(.*\n {4}REKERNEL_PRE_PATCH\(set_limit\);\n/);
  });

  it.each([
    ["b.o", 0],
    ["a.o", 3],
    ["c.o", 4],
    ["cut.o", 1],
    ["missing.o", 1],
  ])("a.o and %s: exit code %i", (name, code) => {
    expect(run(name).status).toBe(code);
  });
});
