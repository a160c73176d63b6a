import { spawnSync } from "node:child_process";
import fc from "fast-check";
import { expect, test } from "vitest";
import { compareDebianVersions, parseControlStanzas } from "../../../src/formats/debian.ts";

test("control stanzas", () => {
  const stanzas = parseControlStanzas(
    "Package: a\nVersion: 1\nDescription: x\n more\n .\n\n\nPackage: b\nno field\n",
  );
  expect(stanzas.map((stanza) => stanza.get("Package"))).toEqual(["a", "b"]);
  expect(stanzas[0]!.get("Description")).toBe("x\nmore\n.");
});

test("the order of kernel versions", () => {
  const sorted = [
    "6.1.0-1",
    "6.1.170-3",
    "6.1.192-1",
    "6.1.192-2",
    "6.12.9-1",
    "6.12.115-2~deb12u1",
    "6.12.115-2",
    "6.12.115-2+b1",
    "1:1",
  ];
  for (let i = 1; i < sorted.length; i++) {
    expect(compareDebianVersions(sorted[i - 1]!, sorted[i]!)).toBeLessThan(0);
    expect(compareDebianVersions(sorted[i]!, sorted[i - 1]!)).toBeGreaterThan(0);
  }
});

const hasDpkg = spawnSync("dpkg", ["--version"]).status === 0;
test.skipIf(!hasDpkg)("agrees with dpkg", () => {
  const part = fc
    .array(fc.constantFrom("1", "0", "10", "~", "+", ".", "a", "deb", "b"), { maxLength: 5 })
    .map((all) => `1${all.join("")}`);
  const version = fc.tuple(part, part).map(([upstream, revision]) => `${upstream}-${revision}`);
  fc.assert(
    fc.property(version, version, (a, b) => {
      const expected =
        spawnSync("dpkg", ["--compare-versions", a, "lt", b]).status === 0
          ? -1
          : spawnSync("dpkg", ["--compare-versions", a, "eq", b]).status === 0
            ? 0
            : 1;
      expect(Math.sign(compareDebianVersions(a, b))).toBe(expected);
    }),
    { numRuns: 100 },
  );
});
