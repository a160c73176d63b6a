import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  compareBootEntries,
  matchesPattern,
  parseBootEntry,
  parseBootEntryName,
  type SortedEntry,
} from "../../../src/formats/boot-entry.ts";
import { compareRpmVersions, compareUapiVersions } from "../../../src/formats/version-order.ts";

describe("versions", () => {
  // The examples of the specification itself, and some more.
  test.each([
    ["11", "==", "11"],
    ["systemd-123", "==", "systemd-123"],
    ["bar-123", "<", "foo-123"],
    ["123a", ">", "123"],
    ["123.a", ">", "123"],
    ["123.a", "<", "123.b"],
    ["123a", ">", "123.a"],
    ["11α", "==", "11β"],
    ["A", "<", "a"],
    ["", "<", "0"],
    ["0.", ">", "0"],
    ["0.0", ">", "0"],
    // Not as these two stand there: systemd-boot takes the tilde first.
    ["0", ">", "~"],
    ["", ">", "~"],
    ["123", ">", "123~rc1"],
    ["1_", "==", "1"],
    ["_1", "==", "1"],
    ["1_", "<", "1.2"],
    ["1_2_3", ">", "1.3.3"],
    ["1+", "==", "1"],
    ["1+2+3", ">", "1.3.3"],
    ["6.12.9", "<", "6.12.117"],
    ["1.0~rc1", "<", "1.0.1"],
    ["99999999999999999999", "<", "100000000000000000000"],
  ])("UAPI.10: %s %s %s", (a, relation, b) => {
    const sign = { "<": -1, "==": 0, ">": 1 }[relation]!;
    expect(Math.sign(compareUapiVersions(a, b))).toBe(sign);
    expect(Math.sign(compareUapiVersions(b, a)) + sign).toBe(0);
  });

  test.each([
    ["1.0", "==", "1.0"],
    ["1.0", "<", "2.0"],
    ["2.0.1a", ">", "2.0.1"],
    ["5.5p10", ">", "5.5p1"],
    ["10xyz", "<", "10.1xyz"],
    ["xyz10", "<", "xyz10.1"],
    ["xyz.4", "<", "8"],
    ["1.0010", ">", "1.9"],
    ["20101121", "==", "20101121"],
    ["2_0", "==", "2.0"],
    ["a", "<", "1"],
    ["1.0~rc1", "<", "1.0"],
    ["1.0^", ">", "1.0"],
    ["1.0^git1", "<", "1.01"],
    ["1.0~rc1^git1", ">", "1.0~rc1"],
    ["300.fc42.x86_64", ">", "63.fc42.x86_64"],
  ])("rpm: %s %s %s", (a, relation, b) => {
    const sign = { "<": -1, "==": 0, ">": 1 }[relation]!;
    expect(Math.sign(compareRpmVersions(a, b))).toBe(sign);
    expect(Math.sign(compareRpmVersions(b, a)) + sign).toBe(0);
  });

  test("both are orders: antisymmetric and reflexive for any text", () => {
    const text = fc.oneof(fc.string(), fc.stringMatching(/^[0-9a-c.~^_-]{0,12}$/));
    for (const compare of [compareUapiVersions, compareRpmVersions])
      fc.assert(
        fc.property(text, text, (a, b) => {
          expect(Math.sign(compare(a, b)) + Math.sign(compare(b, a))).toBe(0);
          expect(compare(a, a)).toBe(0);
        }),
      );
  });
});

test("an entry's text", () => {
  const text = `# comment
title   Fedora 19 (Rawhide)
sort-key fedora
machine-id 6a9857a393724b7a981ebb5b8495b9ea
version\t3.8.0-2.fc19.x86_64
options root=UUID=6d3376e4 quiet
options  debug\r
architecture x64
linux /6a98/linux
initrd /ucode
initrd /6a98/initrd
unknown value
constructor x
title
`;
  expect(parseBootEntry(text)).toEqual({
    title: "Fedora 19 (Rawhide)",
    sortKey: "fedora",
    machineId: "6a9857a393724b7a981ebb5b8495b9ea",
    version: "3.8.0-2.fc19.x86_64",
    options: "root=UUID=6d3376e4 quiet debug",
    architecture: "x64",
    linux: "/6a98/linux",
    initrds: ["/ucode", "/6a98/initrd"],
  });
  fc.assert(fc.property(fc.string(), (any) => void parseBootEntry(any)));
});

test("boot counters in file names", () => {
  expect(parseBootEntryName("a+3-1.conf", "conf")).toEqual({ id: "a", triesLeft: 3, triesDone: 1 });
  expect(parseBootEntryName("a+0.efi", "efi")).toEqual({ id: "a", triesLeft: 0, triesDone: 0 });
  expect(parseBootEntryName("6.12+deb12.conf", "conf")).toEqual({ id: "6.12+deb12" });
  expect(parseBootEntryName("a+3-1-2.conf", "conf")).toEqual({ id: "a+3-1-2" });
  for (const name of [".conf", ".a.conf", "a.efi", "a.conf~"])
    expect(parseBootEntryName(name, "conf")).toBeUndefined();
});

describe("the order of entries", () => {
  // The set of systemd's own test of its sorting (src/test/test-bootspec.c), with what it expects.
  const machine = { a: "dd235d00", b: "b75451ad", c: "309de666" };
  const sorted: SortedEntry[] = [
    { id: "d", sortKey: "kkkk", version: "100", machineId: machine.c },
    { id: "cx", sortKey: "xxxx", version: "10", machineId: machine.c },
    { id: "c", sortKey: "xxxx", version: "5", machineId: machine.c },
    { id: "b", version: "3", machineId: machine.b },
    { id: "a-10", version: "10", machineId: machine.a },
    { id: "a-5", version: "5", machineId: machine.a },
    { id: "z", sortKey: "aaaa", triesLeft: 0, triesDone: 3 },
  ];

  test("is that of the specification", () => {
    fc.assert(
      fc.property(fc.shuffledSubarray(sorted, { minLength: sorted.length }), (entries) => {
        expect(entries.sort(compareBootEntries)).toEqual(sorted);
      }),
    );
  });

  test("an entry that still counts is not bad", () => {
    const counting = { id: "a-11", triesLeft: 1, triesDone: 2 };
    expect(compareBootEntries(counting, { id: "a-10" })).toBeLessThan(0);
  });
});

test.each([
  ["arch*", "Arch-linux.conf", true],
  ["*-6.?.conf", "x-6.9.conf", true],
  ["*-6.?.conf", "x-6.10.conf", false],
  ["[a-c]x[12]", "bx2", true],
  ["[a-c]x[12]", "dx2", false],
  ["[", "[", true],
  ["", "", true],
  ["", "a", false],
  ["a*b*c", "aXbXbc", true],
])("the pattern %s and %s", (pattern, id, matches) => {
  expect(matchesPattern(pattern, id)).toBe(matches);
});

test("a hostile pattern costs no time", () => {
  expect(matchesPattern("*a".repeat(2000), "a".repeat(1999))).toBe(false);
});
