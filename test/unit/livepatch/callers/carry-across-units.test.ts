import { describe, expect, it } from "vitest";
import type { KernelModuleFile } from "../../../../src/kernel/module.ts";
import {
  type AnalysedUnit,
  analyseUnit,
  type PlanContext,
  withMatch,
} from "../../../../src/livepatch/build/analysis.ts";
import { carryAcrossUnits } from "../../../../src/livepatch/build/callers/carry-across-units.ts";
import { moduleCode } from "../../../../src/livepatch/build/match/target-code.ts";
import { readUnitObject } from "../../../../src/livepatch/build/object/object.ts";
import { planModule } from "../../../../src/livepatch/build/plan.ts";
import { compileBytes } from "../compile.ts";
import { link } from "./link.ts";

const untraced = "__attribute__((no_instrument_function)) ";
const alloc = `${untraced} int alloc_block(int x) { if (x > 5) printk("big\\n"); return x * 3; }
int unrelated(int x) { return x; }`;
const inode = `extern int alloc_block(int);
${untraced} noinline int get_block(int x) { return alloc_block(x) + 1; }
int create(int x) { return alloc_block(x + 2) * 2; }
int unlink(int x) { return x - 1; }`;
const dir = `extern int get_block(int);
int add_entry(int x) { return get_block(x) + 7; }`;

/** A module of these units, as its file says it, and a patch of the first. */
async function carry(
  sources: Record<string, string>,
  patched: [source: string, text: string],
  options: { withoutSources?: boolean; exported?: string } = {},
): Promise<{ units: AnalysedUnit[]; context: PlanContext; asked: string[] }> {
  const objects = new Map(Object.entries(sources).map(([source, text]) => [source, compileBytes(text)]));
  const elf = link([...objects.values()], "module");
  const module = moduleCode(elf, "blocks");
  const context: PlanContext = {
    vmlinux: moduleCode(
      link([compileBytes("int printk(const char *f, ...) { return 0; } void __fentry__(void) {}")], "module"),
      "vmlinux",
    ),
    exports: new Map(
      options.exported === undefined ? [] : [[options.exported, { module: "blocks", crc: 1, namespace: "" }]],
    ),
    moduleNamed: (name) => (name === "blocks" ? module : undefined),
    moduleNeeds: () => false,
  };
  const unit = (source: string, after = objects.get(source)!) =>
    analyseUnit(
      {
        source,
        module,
        original: readUnitObject(objects.get(source)!, source),
        patched: readUnitObject(after, source),
      },
      context,
    );
  const asked: string[] = [];
  const units = await carryAcrossUnits([unit(patched[0], compileBytes(patched[1]))], {
    context,
    image: undefined as never,
    moduleFile: async () => ({ elf }) as KernelModuleFile,
    importersOf: async () => new Map(),
    unitsDefining: async (_object, names, known) => {
      asked.push(...names);
      if (options.withoutSources) return [];
      return [...objects.keys()].filter((source) => !known.has(source)).map((source) => unit(source));
    },
    matched: async (each) => withMatch(each, context),
  });
  return { units, context, asked };
}

const sources = { "alloc.c": alloc, "inode.c": inode, "dir.c": dir };
const changed: [string, string] = ["alloc.c", alloc.replace("x * 3", "x * 4")];

describe("functions that ftrace cannot hook, called from other units", () => {
  it("are carried by their callers there, and by the callers of callers that cannot be hooked either", async () => {
    const { units, context } = await carry(sources, changed);
    const plan = planModule(units, context);
    expect(plan.functions.map(({ name, source, reason }) => [source, name, reason])).toEqual([
      ["inode.c", "create", "it calls alloc_block, which ftrace cannot hook"],
      ["dir.c", "add_entry", "it calls get_block, which ftrace cannot hook"],
    ]);
    expect(plan.included.filter(({ kind }) => kind === "function")).toMatchObject([
      { source: "alloc.c", name: "alloc_block", reason: "changed, needed by another unit" },
      { source: "inode.c", name: "get_block", reason: "changed, needed by another unit" },
    ]);
    // The callers call the module's own copies: nothing asks the kernel for them.
    expect([...plan.names.bindings.values()].map(({ name }) => name)).not.toContain("alloc_block");
    expect(plan.cautions).toEqual([]);
  });

  it("leave out-of-tree callers of what is exported to the author", async () => {
    const { units, context } = await carry(sources, changed, { exported: "alloc_block" });
    expect(planModule(units, context).cautions).toMatchObject([{ code: "RK-CAUTION-FOREIGN-CALLERS" }]);
  });

  it("tell of init code that keeps the old one", async () => {
    const init = `${inode}\nint __init start(void) { return alloc_block(1) + 1; }`;
    const { units, context } = await carry({ ...sources, "inode.c": init }, changed);
    expect(planModule(units, context).cautions).toMatchObject([
      { code: "RK-CAUTION-INIT-CALLER", message: expect.stringContaining("start calls alloc_block") },
    ]);
  });

  it("are refused where their address is kept", async () => {
    const table = `${dir}\nextern int alloc_block(int);\nint (*const allocators[])(int) = { alloc_block };`;
    const { units, context } = await carry({ ...sources, "dir.c": table }, changed);
    expect(() => planModule(units, context)).toThrow(
      expect.objectContaining({
        code: "RK-NO-FENTRY",
        message: expect.stringMatching(/allocators.* holds its address/),
      }),
    );
  });

  it("are refused where the patch takes their address", async () => {
    const patched = changed[1].replace("return x;", "return (int)(long)&alloc_block;");
    const { units, context } = await carry(sources, ["alloc.c", patched]);
    expect(() => planModule(units, context)).toThrow(expect.objectContaining({ code: "RK-NO-FENTRY" }));
  });

  it("are refused where no source is the caller's", async () => {
    const { units, context, asked } = await carry(sources, changed, { withoutSources: true });
    expect(asked.sort()).toEqual(["create", "get_block"]);
    expect(() => planModule(units, context)).toThrow(
      expect.objectContaining({
        code: "RK-NO-FENTRY",
        message: expect.stringContaining("no source was found"),
      }),
    );
  });

  it("are refused where too much would come along", async () => {
    const chain = Array.from(
      { length: 25 },
      (_, i) =>
        `extern int f${i}(int);\n${untraced} noinline int f${i + 1}(int x) { return f${i}(x) + ${i}; }`,
    ).map((text, i) => [`f${i + 1}.c`, text] as const);
    const first = `${untraced} noinline int f0(int x) { return x * 3; }`;
    const { units, context } = await carry({ "f0.c": first, ...Object.fromEntries(chain) }, [
      "f0.c",
      first.replace("3", "9"),
    ]);
    expect(() => planModule(units, context)).toThrow(
      expect.objectContaining({ code: "RK-NO-FENTRY", message: expect.stringContaining("more than") }),
    );
  });
});
