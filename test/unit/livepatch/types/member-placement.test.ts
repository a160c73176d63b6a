import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { withMemberPlaced } from "../../../../src/livepatch/build/types/member-placement.ts";

const source = `struct other { int added; };
struct foo {
	int first; /* struct foo { int added; } */
	/* What the patch adds. */
	unsigned int	added;
	bool a, last;
	struct { int x; } inner;
};
static int use(struct foo *f) { return f->added; }
`;
const placement = { structure: "struct foo", member: "added", behind: "last" };
const lines = (text: string) => text.split("\n").length;

describe("a new member", () => {
  it("is declared behind another, and every line stays where it was", () => {
    const placed = withMemberPlaced(source, placement)!;
    expect(placed).toContain("\tbool a, last; unsigned int added;\n");
    expect(placed.match(/\badded;/g)).toHaveLength(source.match(/\badded;/g)!.length);
    expect(lines(placed)).toBe(lines(source));
    expect(withMemberPlaced(placed, { ...placement, behind: "first" })).toContain(
      "int first; unsigned int added; /* struct foo",
    );
  });

  it("may have several lines and attributes", () => {
    const text = "struct foo {\n\tu64\n\t\tadded[2] __aligned(8);\n\tint last;\n};\n";
    expect(withMemberPlaced(text, placement)).toContain("int last; u64 added[2] __aligned(8);\n};");
  });

  it("stays where the text is not certain", () => {
    for (const [from, to] of [
      ["unsigned int	added;", "unsigned int added, more;"],
      ["unsigned int	added;", "struct { int added; } added;"],
      ["unsigned int	added;", "#ifdef CONFIG_X\n\tunsigned int added;\n#endif\n"],
      ["bool a, last;", "#if 1\n\tbool last;\n#endif"],
      ["bool a, last;", "bool last, a;"],
      ["struct foo {", "struct foo_2 {"],
      ["static int use", "struct foo { int again; };\nstatic int use"],
    ] as const)
      expect(withMemberPlaced(source.replace(from, to), placement), to).toBeUndefined();
    expect(withMemberPlaced("struct foo { int added; int last;", placement)).toBeUndefined();
  });

  it("is found or not in any text, and nothing else is lost", () => {
    const words = fc.constantFrom(
      "struct foo {",
      "};",
      "int added;",
      "int last;",
      "/*",
      "*/",
      '"',
      "#if\n",
      "\n",
      "#endif\n",
    );
    fc.assert(
      fc.property(fc.array(words, { maxLength: 20 }), (parts) => {
        const text = parts.join(" ");
        const placed = withMemberPlaced(text, placement);
        if (placed === undefined) return;
        const letters = (from: string) => [...from.replace(/\s/g, "")].sort().join("");
        expect(letters(placed)).toBe(letters(text));
        expect(lines(placed)).toBe(lines(text));
      }),
    );
  });
});
