import { expect, test } from "vitest";
import { analyseUnit, type PlanContext } from "../../../src/livepatch/build/analysis.ts";
import { moduleCode } from "../../../src/livepatch/build/match/target-code.ts";
import { readUnitObject } from "../../../src/livepatch/build/object/object.ts";
import { planModule } from "../../../src/livepatch/build/plan.ts";
import { link } from "./callers/link.ts";
import { compileBytes } from "./compile.ts";

const common = "drivers/gadget/common.c";
const user = "drivers/gadget/user.c";
const before = {
  [common]: "int gadget_read(int x) { return x * 3; }\n",
  [user]: "int gadget_read(int); int gadget_use(int x) { return gadget_read(x) + 1; }\n",
};

/** A patch of two modules that are both linked from these units. */
function plan(after: Record<string, string>) {
  const kernel = compileBytes("int printk(const char *f, ...) { return 0; } void __fentry__(void) {}");
  const modules = ["gadget_a", "gadget_b"].map((name) =>
    moduleCode(link(Object.values(before).map(compileBytes), "module"), name),
  );
  const context: PlanContext = {
    vmlinux: moduleCode(link([kernel], "module"), "vmlinux"),
    exports: new Map(),
    moduleNamed: (name) => modules.find(({ object }) => object === name),
    moduleNeeds: () => false,
  };
  const units = modules.flatMap((module) =>
    Object.entries(before).map(([source, text]) => {
      const [original, patched] = [compileBytes(text), compileBytes(after[source] ?? text)];
      return analyseUnit(
        {
          source,
          module,
          original: readUnitObject(original, source),
          patched: readUnitObject(patched, source),
        },
        context,
      );
    }),
  );
  return planModule(units, context);
}

test("a file of two modules is patched in both", () => {
  const { functions } = plan({ [common]: before[common]!.replace("x * 3", "x * 4") });
  expect(functions.map(({ name, object }) => `${object} ${name}`)).toEqual([
    "gadget_a gadget_read",
    "gadget_b gadget_read",
  ]);
});

test("what it newly gives other files is refused: it would be there twice", () => {
  const after = {
    [common]: `int gadget_check(int x) { if (x > 9) printk("%d", x); return x & 7; }\n${before[common]}`,
    [user]: `int gadget_check(int);\n${before[user]!.replace("gadget_read(x)", "gadget_read(gadget_check(x))")}`,
  };
  expect(() => plan(after)).toThrow(
    expect.objectContaining({
      code: "RK-UNIT-SHARED",
      exitCode: 4,
      message: `${common}: The new gadget_check, which other files use, would come with gadget_a and with gadget_b: its file is linked into both.`,
    }),
  );
});
