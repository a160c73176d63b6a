import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { changedTypes } from "../../../src/livepatch/build/type-changes.ts";

const source = `
struct pair { int a; /* first */
	struct { long low; } inner;
};
typedef struct { char c; } letter_t;
enum state { OFF, ON };
static struct pair value = { .a = 1 };
int use(struct pair *p) { struct pair local = { 1 }; return p->a + local.a; }
`;

describe("changed types", () => {
  it("are found by name, nested and typedef'd ones too", () => {
    expect(changedTypes(source, source.replace("int a;", "int a; int b;"))).toEqual(["struct pair"]);
    expect(changedTypes(source, source.replace("long low", "int low"))).toEqual(["struct pair"]);
    expect(changedTypes(source, source.replace("char c", "short c"))).toEqual(["struct letter_t"]);
    expect(changedTypes(source, source.replace("OFF, ON", "ON, OFF"))).toEqual(["enum state"]);
    expect(changedTypes(source, source.replace("OFF, ON", "OFF, HALF, ON"))).toEqual(["enum state"]);
  });

  it("are not comments, white space, values, new types, or new members at an enumeration's end", () => {
    expect(changedTypes(source, source.replace("/* first */", "// the\n/* very first */\n"))).toEqual([]);
    expect(changedTypes(source, source.replace(".a = 1", ".a = 2"))).toEqual([]);
    expect(changedTypes(source, `struct fresh { int x; };${source}`)).toEqual([]);
    expect(changedTypes(source, source.replace("OFF, ON", "OFF, ON, FULL"))).toEqual([]);
  });

  it("are looked for in any text", () => {
    fc.assert(
      fc.property(
        fc.string(),
        fc.string(),
        (a, b) => Array.isArray(changedTypes(a, b)) && changedTypes(a, a).length === 0,
      ),
    );
  });
});
