import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { RekernelError } from "../../../src/core/errors.ts";
import { isPe, peMachine, readPe } from "../../../src/formats/pe.ts";
import {
  readUki,
  type UkiSectionName,
  ukiCommandLine,
  ukiOsName,
  ukiSection,
  ukiText,
} from "../../../src/formats/uki.ts";
import { buildPe, buildUki } from "./build-pe.ts";

const kernel = Buffer.alloc(1500, "kernel ");
const complete = buildUki([
  [".sbat", "sbat,1,SBAT Version,sbat,1,https://example.org\n"],
  [".osrel", 'ID=debian\n# comment\nPRETTY_NAME="Debian \\"12\\""\nVERSION_ID=\'12\'\n'],
  [".cmdline", " root=/dev/vda1\nro\tquiet \0junk"],
  [".uname", "6.12.0-test"],
  [".dtb", "one"],
  [".dtb", "two"],
  [".ucode", "microcode"],
  [".initrd", "initrd"],
  [".linux", kernel],
]);

describe("PE files", () => {
  test("sections are read without their padding", () => {
    const pe = readPe(complete);
    expect(pe).toMatchObject({ machine: 0x8664, subsystem: 10, fileAlignment: 512, certificates: undefined });
    expect(pe.sections.map(({ name }) => name)).toEqual(
      ".text .sbat .osrel .cmdline .uname .dtb .dtb .ucode .initrd .linux".split(" "),
    );
    const last = pe.sections.at(-1)!;
    expect(last).toMatchObject({ fileSize: 1536, virtualSize: 1500 });
    expect(Buffer.compare(last.data, kernel)).toBe(0);
  });

  test("memory beyond the file is left out, and a size of 0 means all of it", () => {
    const pe = readPe(
      buildPe([
        { name: ".data", data: Buffer.alloc(512, 1), virtualSize: 1 << 30 },
        { name: ".object", data: Buffer.alloc(512, 2), virtualSize: 0 },
        { name: ".bss", data: Buffer.alloc(0), virtualSize: 4096 },
      ]),
    );
    expect(pe.sections.map(({ data }) => data.length)).toEqual([512, 512, 0]);
  });

  test("tells where the signatures are", () => {
    const certificates = Buffer.alloc(64, 7);
    const bytes = buildPe([{ name: ".text", data: Buffer.from("x") }], { certificates });
    const found = readPe(bytes).certificates;
    expect(found).toEqual({ offset: bytes.length - 64, size: 64 });
    expect(() => readPe(bytes.subarray(0, bytes.length - 1))).toThrow(/its signature lies outside the file/);
  });

  test("knows the machine even of what it cannot read", () => {
    expect(peMachine(buildPe([], { machine: 0xaa64 }))).toEqual({ machine: 0xaa64, name: "ARM 64" });
    expect(peMachine(buildPe([], { machine: 0x1234 }))?.name).toBe("PE machine 0x1234");
    expect(peMachine(Buffer.from("MZ"))).toBeUndefined();
    expect(isPe(Buffer.alloc(0))).toBe(false);
  });

  test("says what is wrong with the headers", () => {
    const damaged = (at: number, ...bytes: number[]) => {
      const copy = complete.slice();
      copy.set(bytes, at);
      return () => readPe(copy, "uki.efi");
    };
    expect(damaged(0x80, 0)).toThrow("Cannot read uki.efi: it has no PE header.");
    expect(damaged(0x98, 0x0b, 0x01)).toThrow(/not that of a 64-bit program/);
    expect(damaged(0x98 + 108, 0xff, 0xff, 0xff, 0xff)).toThrow(/no room for 4294967295 data directories/);
    expect(damaged(0x86, 0xff, 0xff)).toThrow(/its section/);
    expect(() => readPe(complete.subarray(0, complete.length - 1))).toThrow(
      /its section .linux lies outside/,
    );
  });
});

describe("unified kernel images", () => {
  test("give their parts", () => {
    const { profiles, hasProfiles } = readUki(complete);
    expect(hasProfiles).toBe(false);
    expect(profiles).toHaveLength(1);
    const [profile] = profiles;
    expect(profile!.sections.map(({ name }) => name)).toEqual(
      ".sbat .osrel .cmdline .uname .dtb .dtb .ucode .initrd .linux".split(" "),
    );
    expect(ukiCommandLine(profile!)).toBe("root=/dev/vda1 ro quiet");
    expect(ukiOsName(profile!)).toBe('Debian "12"');
    expect(ukiText(ukiSection(profile!, ".uname")!)).toBe("6.12.0-test");
  });

  test("profiles take from the base what they do not have", () => {
    const { profiles, hasProfiles } = readUki(
      buildUki([
        [".linux", kernel],
        [".cmdline", "quiet"],
        [".dtb", "base 1"],
        [".dtb", "base 2"],
        [".profile", 'ID=regular\nTITLE="Regular boot"\n'],
        [".profile", "ID=factory-reset\nTITLE=Reset"],
        [".cmdline", "quiet systemd.unit=factory-reset.target"],
        [".dtb", "own"],
        [".profile", ""],
      ]),
    );
    expect(hasProfiles).toBe(true);
    const texts = (index: number, wanted: UkiSectionName) =>
      profiles[index]!.sections.filter(({ name }) => name === wanted).map(({ data }) => ukiText(data));
    expect(profiles.map(({ index, id, title }) => ({ index, id, title }))).toEqual([
      { index: 0, id: "regular", title: "Regular boot" },
      { index: 1, id: "factory-reset", title: "Reset" },
      { index: 2, id: undefined, title: undefined },
    ]);
    expect(texts(0, ".cmdline")).toEqual(["quiet"]);
    expect(texts(1, ".cmdline")).toEqual(["quiet systemd.unit=factory-reset.target"]);
    expect(texts(0, ".dtb")).toEqual(["base 1", "base 2"]);
    expect(texts(1, ".dtb")).toEqual(["own"]);
    expect(texts(2, ".linux")).toHaveLength(1);
  });

  test.each([
    [
      "a section twice",
      [
        [".linux", "a"],
        [".linux", "b"],
      ],
      /the section .linux twice/,
    ],
    ["no kernel", [[".osrel", "ID=x"]], /a UEFI program without a Linux kernel/],
    ["an add-on", [[".cmdline", "x"]], /a UEFI add-on to a unified kernel image/],
    ["a profile without kernel", [[".profile", ""]], /profile @0 has no Linux kernel/],
  ] as const)("%s is refused", (_name, sections, message) => {
    expect(() => readUki(buildUki(sections), "uki.efi")).toThrow(
      expect.objectContaining({ code: "RK-BAD-IMAGE", message: expect.stringMatching(message) }),
    );
  });

  test("objcopy's are read as well", () => {
    const folder = mkdtempSync(join(tmpdir(), "rekernel-test-"));
    try {
      const at = (name: string) => join(folder, name);
      writeFileSync(at("stub"), buildPe([{ name: ".text", data: Buffer.alloc(512, 0x90) }]));
      writeFileSync(at("linux"), kernel);
      writeFileSync(at("cmdline"), "quiet\n");
      const add = (name: string, address: string) => [
        "--add-section",
        `.${name}=${at(name)}`,
        "--change-section-vma",
        `.${name}=${address}`,
      ];
      execFileSync(
        "objcopy",
        [...add("cmdline", "0x140030000"), ...add("linux", "0x142000000"), at("stub"), at("uki")],
        { stdio: "pipe" },
      );
      const [profile] = readUki(readFileSync(at("uki"))).profiles;
      expect(ukiCommandLine(profile!)).toBe("quiet");
      expect(Buffer.compare(ukiSection(profile!, ".linux")!.subarray(0, kernel.length), kernel)).toBe(0);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe("whatever the bytes", () => {
  const onlyOurErrors = (bytes: Uint8Array) => {
    try {
      const { profiles } = readUki(bytes);
      for (const profile of profiles) {
        ukiCommandLine(profile);
        ukiOsName(profile);
      }
    } catch (error) {
      if (!(error instanceof RekernelError)) throw error;
      expect(error.code).toBe("RK-BAD-IMAGE");
    }
  };

  test("mutated images are read or refused", () => {
    const change = fc.tuple(fc.nat({ max: 1023 }), fc.nat({ max: 255 }));
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 12 }), (changes) => {
        const bytes = complete.slice();
        for (const [at, value] of changes) bytes[at] = value;
        onlyOurErrors(bytes);
      }),
      { numRuns: 3000 },
    );
  });

  test("truncated and random ones, too", () => {
    for (let size = 0; size < complete.length; size += 13) onlyOurErrors(complete.subarray(0, size));
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2000 }), (tail) =>
        onlyOurErrors(Buffer.concat([complete.subarray(0, 0x98), tail])),
      ),
      { numRuns: 1000 },
    );
  });

  test("what is written is read", () => {
    const name = fc.string({ unit: "binary-ascii", minLength: 1, maxLength: 8 });
    const section = fc.record({
      name: name.filter((text) => !text.includes("\0")),
      data: fc.uint8Array({ minLength: 1, maxLength: 2000 }),
    });
    fc.assert(
      fc.property(fc.array(section, { maxLength: 20 }), (sections) => {
        const read = readPe(buildPe(sections)).sections;
        expect(read.map(({ name, data }) => ({ name, data: Buffer.from(data) }))).toEqual(
          sections.map(({ name, data }) => ({ name, data: Buffer.from(data) })),
        );
      }),
    );
  });
});
