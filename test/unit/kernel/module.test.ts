import { gzipSync, zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { RekernelError } from "../../../src/core/errors.ts";
import { KernelModuleFile } from "../../../src/kernel/module.ts";
import { buildModule, buildVmlinux } from "./build-image.ts";

let bytes: Uint8Array;
beforeAll(() => {
  bytes = buildModule();
});

describe("KernelModuleFile", () => {
  test.each([
    ["test.ko", (plain: Uint8Array) => plain],
    ["test.ko.gz", (plain: Uint8Array) => gzipSync(plain)],
    ["test.ko.zst", (plain: Uint8Array) => zstdCompressSync(plain)],
  ])("reads %s", (path, pack) => {
    const module = KernelModuleFile.fromBytes(pack(bytes), path);
    expect(module.name).toBe("test_module");
    expect(module.vermagic).toBe("6.12.0-test SMP mod_unload modversions ");
    expect(module.dependencies).toEqual(["first", "second_part"]);
    expect(module.modinfo.get("alias")).toEqual(["one", "two"]);
    expect([...module.versions]).toEqual([
      ["module_layout", 0x01020304],
      ["_printk", 0xfffffffe],
    ]);
    const [shared] = module.symbolsNamed("shared");
    expect([...module.exports]).toEqual([
      ["shared", { address: shared!.value, crc: 0x0badcafe, gplOnly: true, namespace: "" }],
    ]);
    const types = Object.fromEntries(module.symbols.map(({ name, type }) => [name, type]));
    expect(types).toMatchObject({ shared: "T", helper: "t", counter: "b" });
    expect(types).not.toHaveProperty("_printk");
  });

  test("takes the name from the file where .modinfo has none", () => {
    const unnamed = Buffer.from(
      Buffer.from(bytes).toString("latin1").replace("name=test-", "nope=test-"),
      "latin1",
    );
    expect(KernelModuleFile.fromBytes(unnamed, "/lib/my-module.ko.xz").name).toBe("my_module");
  });

  test("refuses what is no module", () => {
    expect(() => KernelModuleFile.fromBytes(buildVmlinux(), "vmlinux")).toThrow(/linked already/);
    expect(() => KernelModuleFile.fromBytes(new Uint8Array(10), "file")).toThrow(
      expect.objectContaining({ code: "RK-BAD-ELF" }),
    );
  });

  test("mutated ones give an answer or a reason", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(255)), { minLength: 1, maxLength: 12 }),
        fc.nat(bytes.length),
        (changes, cut) => {
          const mutated = bytes.slice(0, cut % 4 === 0 ? cut : bytes.length);
          for (const [at, value] of changes) if (at < mutated.length) mutated[at] = value;
          try {
            const module = KernelModuleFile.fromBytes(mutated, "file");
            module.versions;
            module.exports;
            module.symbols;
          } catch (error) {
            expect(error).toBeInstanceOf(RekernelError);
          }
        },
      ),
      { numRuns: 400 },
    );
  });
});
