import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { declarationCautions } from "../../../../src/livepatch/build/cautions/declarations.ts";
import {
  changedSourceFunctions,
  withInlineReasons,
} from "../../../../src/livepatch/build/cautions/inlined.ts";
import { differenceOf } from "../../../../src/livepatch/build/difference/difference.ts";
import { readUnitObject } from "../../../../src/livepatch/build/object/object.ts";
import { readDebugInfo } from "../../../../src/livepatch/build/types/debug-info.ts";
import { compileUnit } from "../types/compile-with-debug-info.ts";

const source = `
/* A header's function, and those that use it. */
static inline __attribute__((always_inline)) int ip_check(int x)
{
	return x > 5;
}
int input(int x)
{
	return ip_check(x) + 3;
}
__attribute__((noipa))
int output(int x,
	   int y)
{
	return ip_check(x * y) + y;
}
int both(int x) { return output(x, x + 1); }
int apart(int x)
{
	return x * 9;
}
`;

describe("functions whose text a patch changes", () => {
  const changed = (from: string, to: string) => [...changedSourceFunctions(source, source.replace(from, to))];

  it("are those that hold the change, comments and white space aside", () => {
    expect(changed("x > 5", "x > 6")).toEqual(["ip_check"]);
    expect(changed("+ y;", "+ x;")).toEqual(["output"]);
    expect(changed("output(x, x + 1)", "output(x, x + 2)")).toEqual(["both"]);
    expect(changed("return x * 9;", "/* nine */\n\treturn  x * 9;")).toEqual([]);
    expect(changed("A header", "Another header")).toEqual([]);
  });

  it("are new ones as well", () => {
    expect(changed("int apart", "int fresh(void)\n{\n\treturn 1;\n}\nint apart")).toEqual(["fresh"]);
  });
});

describe("any text", () => {
  const parts = [
    "int f(int x)",
    "\n{",
    "\n}",
    "{",
    "}",
    ";",
    "=",
    "(",
    ")",
    "/*",
    "*/",
    "//",
    "\n",
    '"',
    "'",
    "#if",
    "\\",
    "aa",
    " ",
  ];
  const text = fc.array(fc.constantFrom(...parts), { maxLength: 200 }).map((list) => list.join(""));

  it("is taken, and is the same as itself", () => {
    fc.assert(
      fc.property(text, text, (a, b) => {
        expect(changedSourceFunctions(a, a).size).toBe(0);
        for (const name of changedSourceFunctions(a, b)) expect(name).toMatch(/^[A-Za-z_]\w*$/);
        expect(declarationCautions("a.c", a, a)).toEqual([]);
      }),
    );
  });

  it("is read in time that grows with its length", () => {
    const long = ["a".repeat(200_000), "a(".repeat(100_000), "a(\n".repeat(50_000), "=  ".repeat(50_000)];
    for (const one of long) {
      expect(changedSourceFunctions(one, one).size).toBe(0);
      expect(declarationCautions("a.c", one, one)).toEqual([]);
    }
  });
});

describe("changes by inlining", () => {
  it("name the function that changes, and all that carry it", () => {
    const [before, after] = [source, source.replace("x > 5", "x > 6")].map((text) => compileUnit(text));
    const info = readDebugInfo(after!, "after")!;
    const { difference, inlined } = withInlineReasons(
      differenceOf(readUnitObject(before!, "before"), readUnitObject(after!, "after")),
      changedSourceFunctions(source, source.replace("x > 5", "x > 6")),
      (name) => info.carriersOf(name),
    );
    expect(inlined).toEqual([{ name: "ip_check", into: expect.arrayContaining(["input", "output"]) }]);
    expect(difference.changed.map(({ patched, reason }) => [patched.name, reason])).toEqual(
      expect.arrayContaining([
        ["input", "it inlines ip_check(), which changes"],
        ["output", "it inlines ip_check(), which changes"],
      ]),
    );
  });
});
