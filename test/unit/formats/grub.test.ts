import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { RekernelError } from "../../../src/core/errors.ts";
import { grubDefault } from "../../../src/formats/grub/default-entry.ts";
import { parseGrubEnvironment } from "../../../src/formats/grub/environment.ts";
import { type GrubInputs, grubMenu } from "../../../src/formats/grub/menu.ts";

const inputs: GrubInputs = {
  variables: {},
  environment: new Map(),
  read: () => undefined,
  isThere: () => false,
  snippets: () => [],
};
const menuOf = (text: string, more: Partial<GrubInputs> = {}) =>
  grubMenu(text, "grub.cfg", { ...inputs, ...more });
/** What `linux` gets in the only entry. */
const loaded = (body: string, before = "") => {
  const [entry] = menuOf(`${before}\nmenuentry x {\n${body}\n}`).entries;
  return entry?.kernel;
};

describe("the script", () => {
  test.each([
    [`linux /v a 'b c' "d $x" e\\ f`, "a b c d X e f"],
    [`linux /v a\${x}b $none "" c # comment`, "aXb  c"],
    [`set y="p q"; linux /v $y "$y"`, "p q p q"],
    [`if [ "$x" = X -a -n "$x" ]; then linux /v yes; else linux /v no; fi`, "yes"],
    [`if [ -z "$x" -o 3 -gt 4 ]; then linux /v a; elif test ! -f /n; then linux /v b; fi`, "b"],
    [`if hwmatch x; then linux /v known; else linux /v unknown; fi`, "unknown"],
    [`if true; then if false; then linux /v 1; else linux /v 2; fi; fi`, "2"],
    [`for i in 1 2; do linux /v loop; done; linux /v after`, "after"],
    [`load "two words" b`, "two words"],
    [`linux /v x=#1 \\\n  y`, "x=#1 y"],
    [`linux /v \\$x '$x' "\\$x \\a"`, "$x $x $x \\a"],
  ])("%s", (body, line) => {
    expect(loaded(body, `set x=X\nfunction load {\n  linux /v "$1"\n}`)?.commandLine).toBe(line);
  });

  test("what an entry sets stays in it", () => {
    const { entries, default: name } = menuOf(
      "set default=0; set x=1\nmenuentry a { set default=7; set x=2; linux /v $x }\nmenuentry b { linux /v $x }",
    );
    expect(name).toBe("0");
    expect(entries.map(({ kernel }) => kernel?.commandLine)).toEqual(["2", "1"]);
  });

  test("titles, ids and options", () => {
    const { entries } = menuOf(
      "menuentry --class x 'A' --hotkey=a --users '' --unrestricted --id aa { true }\nmenuentry B --id=bb {\n}\nmenuentry C {\n}",
    );
    expect(entries.map(({ title, id }) => [title, id])).toEqual([
      ["A", "aa"],
      ["B", "bb"],
      ["C", "C"],
    ]);
  });

  test.each([
    ["menuentry x {", /“}” is missing at the end/],
    ["if true; then\n", /“elif” or “else” or “fi” is missing/],
    ["\n\n}", /line 3: a “}” closes nothing/],
    ["set x='a", /a quote is not closed/],
    ['set x="a', /a quote is not closed/],
    ["menuentry a { ".repeat(100), /nested too deep/],
  ])("%s cannot be read", (text, message) => {
    expect(() => menuOf(text)).toThrow(message);
    expect(() => menuOf(text)).toThrow(RekernelError);
  });

  test("a script without an end is left", () => {
    expect(menuOf("function f { f; f; }\nf\n").entries).toEqual([]);
    expect(menuOf("source a", { read: () => "source a\nsource a" }).entries).toEqual([]);
    const doubling = `set a=${"x".repeat(100)}\n${'set a="$a$a"\n'.repeat(5000)}menuentry x { linux /v $a }`;
    expect(menuOf(doubling).entries[0]!.kernel!.commandLine.length).toBeLessThanOrEqual(64 * 1024);
    const many = "menuentry x { linux /v }\n".repeat(2000);
    expect(menuOf(many).entries).toHaveLength(1000);
  });

  test("only errors of ours come out, whatever goes in", () => {
    const word = fc.constantFrom(
      ..."menuentry submenu if then fi else elif { } ' \" $ $x [ test -o -a = ; \n # \\ set x=1 linux function f for do done".split(
        " ",
      ),
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(word).map((words) => words.join(" ")),
        ),
        (text) => {
          try {
            menuOf(text);
          } catch (error) {
            expect(error).toBeInstanceOf(RekernelError);
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});

describe("the default entry", () => {
  const { entries } = menuOf(
    "menuentry First --id one { true }\nsubmenu 'More > less' --id more {\nmenuentry 2 --id two { true }\nmenuentry Three --id three { true }\n}\nsubmenu Empty {\n}",
  );
  test.each([
    ["0", [0], false],
    ["one", [0], false],
    ["First", [0], false],
    ["1>1", [1, 1], false],
    ["more>three", [1, 1], false],
    ["More >> less>Three", [1, 1], false],
    ["more", [1, 0], true],
    ["more>none", [1, 0], true],
    ["9", [0], true],
    ["none>1", [0], true],
    ["", [0], true],
  ])("%s", (name, path, orFirst) => {
    const found = grubDefault(entries, name)!;
    expect(found.path).toEqual(path);
    // A submenu by itself means its first entry, which is nothing missing.
    expect(found.missing).toBe(orFirst && name !== "more");
  });

  test("an empty menu has none", () => {
    expect(grubDefault([], "0")).toBeUndefined();
    expect(grubDefault(entries, "Empty")).toBeUndefined();
  });
});

describe("the environment block", () => {
  test("variables, escapes and padding", () => {
    const text =
      "# GRUB Environment Block\nsaved_entry=1>2\n# WARNING: x=1\nempty=\nback=a\\\\b\\\nc\n###########";
    expect([...parseGrubEnvironment(text, "grubenv")]).toEqual([
      ["saved_entry", "1>2"],
      ["empty", ""],
      ["back", "a\\b\nc"],
    ]);
  });

  test("something else is refused", () => {
    expect(() => parseGrubEnvironment("saved_entry=1", "grubenv")).toThrow(/not an environment block/);
    fc.assert(
      fc.property(fc.string(), (text) => void parseGrubEnvironment(`# GRUB Environment Block\n${text}`, "x")),
    );
  });
});
