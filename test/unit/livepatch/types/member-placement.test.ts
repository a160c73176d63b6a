import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { withMemberPlaced } from "../../../../src/livepatch/build/types/member-placement.ts";
import { withMembersPlaced } from "../../../../src/livepatch/build/types/place-members.ts";

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

describe("a patch's new members", () => {
  const file = (path: string, text: string) => ({
    path,
    change: "modify" as const,
    text,
    compiled: `#line 1\n${text}`,
    offsets: [],
  });
  const other = file("fs/other.c", "struct bar;\n");

  it("are declared where there is room in the one file that has the structure, with a caution", () => {
    const placed = withMembersPlaced([other, file("fs/foo.h", source)], [placement])!;
    expect(placed.touched[0]).toBe(other);
    for (const text of [placed.touched[1]!.text, placed.touched[1]!.compiled])
      expect(text).toContain("bool a, last; unsigned int added;");
    expect(placed.cautions).toMatchObject([
      {
        code: "RK-CAUTION-MEMBER-PLACED",
        message: expect.stringContaining("added of struct foo is declared behind last"),
        source: "fs/foo.h",
      },
    ]);
  });

  it("stay where no file or more than one has it", () => {
    expect(withMembersPlaced([other], [placement])).toBeUndefined();
    const twice = [file("fs/foo.h", source), file("fs/bar.h", source)];
    expect(withMembersPlaced(twice, [placement])).toBeUndefined();
  });
});
