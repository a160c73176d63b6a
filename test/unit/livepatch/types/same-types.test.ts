import { expect, it } from "vitest";
import { readDebugInfo } from "../../../../src/livepatch/build/types/debug-info.ts";
import { describeTheSameTypes } from "../../../../src/livepatch/build/types/same-types.ts";
import { compileUnit } from "./compile-with-debug-info.ts";

const source = `
enum color { RED, BLUE = -7, HUGE = 0x123456789abcdef0 };
struct item { int a:3, b:5; struct item *next; union { long x; char bytes[8]; }; int (*call)(struct item *, char, ...); enum color c; };
typedef struct { struct item items[4]; } list_t;
static list_t list;
int use(int n) { return list.items[n].a; }
`;

function same(before: string, after: string, flags = ["-g"]): boolean {
  const [a, b] = [before, after].map(
    (text) => readDebugInfo(compileUnit(text, flags), "unit.o")!.types.dwarf,
  );
  return describeTheSameTypes(a!, b!);
}

it("sees that a patch of functions leaves the types as they are", () => {
  expect(same(source, source.replace("list.items[n].a", "n < 4 ? list.items[n].b : list.items[0].a"))).toBe(
    true,
  );
  expect(same(source, `\n\n${source}int first;`)).toBe(true);
});

it.each([
  ["a:3", "a:4"],
  ["x; char", "x; short"],
  ["bytes[8]", "bytes[7]"],
  ["char, ...", "short, ..."],
  ["char, ...", "char"],
  ["struct item *next", "struct item *const next"],
  ["BLUE = -7", "BLUE = -8"],
  ["abcdef0", "abcdef1"],
  ["items[4]", "items[5]"],
  ["long x", "long y"],
])("sees that %s becomes %s", (text, other) => {
  expect(same(source, source.replace(text, other))).toBe(false);
});

it("leaves type units to the full comparison", () => {
  expect(same(source, source, ["-gdwarf-4", "-fdebug-types-section"])).toBe(false);
});
