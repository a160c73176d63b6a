import fc from "fast-check";
import { expect, test } from "vitest";
import { type CpioEntry, cpioArchive } from "../../../src/formats/cpio.ts";

/** Reads an archive by the letter of the format's description, and nothing else. */
function members(archive: Uint8Array): { path: string; mode: number; data: Uint8Array }[] {
  const found = [];
  const text = Buffer.from(archive);
  for (let at = 0; ; ) {
    expect(text.toString("latin1", at, at + 6)).toBe("070701");
    const field = (index: number) =>
      Number.parseInt(text.toString("latin1", at + 6 + index * 8, at + 14 + index * 8), 16);
    const nameEnd = at + 110 + field(11);
    expect(text[nameEnd - 1]).toBe(0);
    const path = text.toString("utf8", at + 110, nameEnd - 1);
    const dataStart = Math.ceil(nameEnd / 4) * 4;
    const dataEnd = dataStart + field(6);
    if (path === "TRAILER!!!") {
      expect(Math.ceil(dataEnd / 4) * 4).toBe(text.length);
      return found;
    }
    found.push({ path, mode: field(1), data: text.subarray(dataStart, dataEnd) });
    at = Math.ceil(dataEnd / 4) * 4;
  }
}

const path = fc
  .string({ minLength: 1, maxLength: 300, unit: "grapheme" })
  .filter((text) => !/^\/|\0/.test(text) && text !== "TRAILER!!!" && text.isWellFormed());

test("every member is there, in order, with its bytes and mode", () => {
  const file = fc.record({ path, mode: fc.integer({ min: 0, max: 0o7777 }), data: fc.uint8Array() });
  fc.assert(
    fc.property(fc.array(file), (files) => {
      const archive = cpioArchive(files.map((entry): CpioEntry => ({ kind: "file", ...entry })));
      expect(members(archive)).toEqual(
        files.map(({ path, mode, data }) => ({ path, mode: 0o100000 | mode, data: Buffer.from(data) })),
      );
    }),
  );
});

test("equal input gives equal bytes", () => {
  const entries: CpioEntry[] = [{ kind: "file", path: "a", data: Buffer.from("x") }];
  expect(cpioArchive(entries)).toEqual(cpioArchive(entries));
});

test.each(["", "/absolute", "nul\0inside", "x".repeat(4096)])("refuses the path %j", (bad) => {
  expect(() => cpioArchive([{ kind: "directory", path: bad }])).toThrow(RangeError);
});
