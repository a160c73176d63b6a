import { describe, expect, it } from "vitest";
import { analyseUnit, type PlanContext } from "../../../src/livepatch/build/analysis.ts";
import { moduleCode } from "../../../src/livepatch/build/match/target-code.ts";
import { readUnitObject } from "../../../src/livepatch/build/object/object.ts";
import { planModule } from "../../../src/livepatch/build/plan.ts";
import { link } from "./callers/link.ts";
import { compileBytes } from "./compile.ts";

type Sources = Record<string, string>;

/** The plan of a patch of a module of these units. */
function plan(before: Sources, after: Sources) {
  const objects = Object.values(before).map(compileBytes);
  const module = moduleCode(link(objects, "module"), "blocks");
  const kernel = compileBytes("int printk(const char *f, ...) { return 0; } void __fentry__(void) {}");
  const context: PlanContext = {
    vmlinux: moduleCode(link([kernel], "module"), "vmlinux"),
    exports: new Map(),
    moduleNamed: () => module,
    moduleNeeds: () => false,
  };
  const units = Object.keys(before).map((source, i) => {
    const [original, patched] = [objects[i]!, compileBytes(after[source]!)];
    const [a, b] = [readUnitObject(original, source), readUnitObject(patched, source)];
    return analyseUnit({ source, module, original: a, patched: b }, context);
  });
  return planModule(units, context);
}

const checked = "int checked(int x) { if (x > 5) return -1; return x * 3; }\n";
const before = {
  "a.c": `${checked}int own(int x) { return checked(x) + 1; }\n`,
  "b.c": "int other(int x) { return x - 1; }\n",
};
const moved = (text: string, other = before["b.c"]) => ({
  "a.c": "int checked(int);\nint own(int x) { return checked(x) + 1; }\n",
  "b.c": `${other}${text}`,
});

describe("a function that moves to another file", () => {
  it("is replaced where the kernel has it, when it changes on the way", () => {
    const { functions } = plan(before, moved(checked.replace("x > 5", "x > 4")));
    expect(functions).toContainEqual(
      expect.objectContaining({
        source: "b.c",
        object: "blocks",
        name: "checked",
        reason: "it changes, and moves here from a.c",
      }),
    );
  });

  it("is left where it is, when it does not", () => {
    const { functions } = plan(before, moved(checked, "int other(int x) { return x - 2; }\n"));
    expect(functions.map(({ name }) => name).filter((name) => name !== "own")).toEqual(["other"]);
  });

  it("cannot be replaced where ftrace cannot hook it", () => {
    const untraced = `__attribute__((no_instrument_function)) ${checked}`;
    const start = { ...before, "a.c": before["a.c"].replace(checked, untraced) };
    expect(() => plan(start, moved(checked.replace("x > 5", "x > 4")))).toThrow(
      expect.objectContaining({ code: "RK-NO-FENTRY", message: expect.stringContaining("a.c") }),
    );
  });
});
