import { expect, test } from "vitest";
import { unchangedItems } from "../../../src/livepatch/build/units/header-changes.ts";
import { headerUsers, useJudge } from "../../../src/livepatch/build/units/header-users.ts";
import { mayPaste, pasteChains } from "../../../src/livepatch/build/units/pasted-names.ts";

const before = `struct box { int a; };
#define BOX(x) ((struct box *)(x))
static inline int box_size(void *x)
{
	return BOX(x)->a;
}
static inline int other(void)
{
	return 1;
}
#ifdef box_feature
int more(void);
#endif
`;
const after = before.replace("int a;", "int a, b;");

/** The units among these files that may use what changes in box.h. */
function using(names: string[], files: Record<string, string>, command: string[] = []): string[] {
  const texts = new Map(Object.entries({ "box.h": before, ...files }));
  const users = headerUsers(names, texts, new Map([["box.h", unchangedItems(before, after)!]]));
  if (!users) return ["everything"];
  const judge = useJudge(users, texts);
  const headers = [...texts.keys()].filter((path) => path.endsWith(".h"));
  return [...texts.keys()].filter(
    (path) => path.endsWith(".c") && judge({ read: [path, ...headers], command }),
  );
}

test("a use through macros, inline functions and other headers", () => {
  const files = {
    "wrap.h": "static inline int wrapped(void *x)\n{\n\treturn box_size(x);\n}\n",
    "direct.c": "int f(struct box *b) { return b->a; }\n",
    "macro.c": "int f(void *b) { return BOX(b)->a; }\n",
    "wrapped.c": "int f(void *b) { return wrapped(b); }\n",
    "other.c": "int f(void) { return other(); }\n",
    "comment.c": "/* struct box */ int f(void) { return 1; } // wrapped\n",
    "part.c": "int boxer(void) { return my_box; }\n",
  };
  expect(using(["box"], files)).toEqual(["direct.c", "macro.c", "wrapped.c"]);
});

test("a pointer that comes from elsewhere", () => {
  const files = {
    "get.h": "struct shelf { struct box *first; };\nstruct shelf *shelf(void);\n",
    "a.c": "int f(void) { return shelf()->first->a; }\n",
    "b.c": "int f(void) { return 0; }\n",
  };
  expect(using(["box"], files)).toEqual(["a.c"]);
});

test.each([
  ["what makes code in a header", "int table[] = { sizeof(struct box) };\n"],
  ["a condition", "#if defined(BOX)\n#endif\n"],
  ["what a macro declares", "DECLARE_BOX(box);\n"],
  ["brackets that do not match", "struct box {\n"],
])("%s counts for all that read it", (_name, text) => {
  expect(using(["box"], { "x.h": text, "a.c": "int f;\n" })).toEqual(["a.c"]);
});

test("a word of the compiler's command", () => {
  expect(using(["box"], { "a.c": "int f;\n" }, ["gcc", "-DTHING=BOX"])).toEqual(["a.c"]);
});

test("too much hangs on it", () => {
  const many = Array.from({ length: 400 }, (_, i) => `int f${i}(struct box *b);\n`).join("");
  expect(using(["box"], { "x.h": many, "a.c": "int f;\n" })).toEqual(["everything"]);
});

test("names that macros put together", () => {
  const files = {
    "paste.h": "#define SIZE_OF(what) what##_size(0)\n#define JOIN(a, b) a ## _ ## b\n",
    "suffix.c": "int f(void) { return SIZE_OF(cup); }\n",
  };
  // The macro itself holds a telling part of the name.
  expect(using(["box"], files)).toEqual(["suffix.c"]);
  const joined = {
    "paste.h": "#define JOIN(a, b) a ## _ ## b\n",
    "joined.c": "int f(void) { return JOIN(box, size)(0); }\n",
    "half.c": "int f(void) { return JOIN(box, colour)(size + 1); }\n",
    "none.c": "int f(void) { return 0; }\n",
  };
  expect(using(["box_size"], joined)).toEqual(["joined.c"]);
  // A word of the declaration in question stands there as well.
  expect(using(["box"], joined)).toEqual(["joined.c", "half.c"]);
});

test("chains of ## in macros", () => {
  const code = [
    "#define A(x, y) x ## _ ## y",
    '#define B(fmt, args...) print("x##y" fmt, ## args)',
    "#define C trace_ ## B",
    "#define D(...) f(a ## __VA_ARGS__, __VA_OPT__(b) ## c)",
    "# define E (x ## 1)",
  ].join("\n");
  expect(pasteChains(code).map(({ key }) => key)).toEqual(["# _ #", "trace_ B", "a #", "# c", "x 1"]);
  const [joined] = pasteChains(code);
  const spelled = (...words: string[]) => mayPaste(["a_b_c"], [joined!], (word) => words.includes(word));
  expect(spelled("a", "b_c").map(({ words }) => words)).toEqual([["a", "b_c"]]);
  expect(spelled("a", "b")).toEqual([]);
  expect(mayPaste(["x1", "x2"], pasteChains("#define E x ## 1\n"), () => false)).toHaveLength(1);
});
