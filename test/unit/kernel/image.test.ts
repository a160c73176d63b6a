import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { RekernelError } from "../../../src/core/errors.ts";
import { readBzImage } from "../../../src/formats/bzimage.ts";
import { KernelImage } from "../../../src/kernel/image.ts";
import { openImageOrModule } from "../../../src/kernel/open.ts";
import { buildBzImage, buildModule, buildVmlinux, testBanner, testSymbols } from "./build-image.ts";

let vmlinux: Uint8Array;
let bzImage: Uint8Array;
let image: KernelImage;
let folder: string;

beforeAll(async () => {
  vmlinux = buildVmlinux();
  bzImage = buildBzImage(vmlinux);
  image = KernelImage.fromBytes(bzImage, "vmlinuz");
  folder = await mkdtemp(join(tmpdir(), "rekernel-test-"));
});

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe("KernelImage", () => {
  test("tells release, compiler and build id", () => {
    expect(image.banner).toBe(testBanner);
    expect(image.release).toBe("6.12.0-test");
    expect(image.version).toBe("#1 SMP Test 6.12.0-1 (2026-01-01)");
    expect(image.compiler).toBe("gcc-12 (Debian 12.2.0-14) 12.2.0");
    expect(image.linker).toBe("GNU ld (GNU Binutils for Debian) 2.40");
    expect(image.buildId).toBe("1234abcd");
    expect(image.features).toMatchObject({
      livepatch: true,
      kexecFile: false,
      ibt: false,
      modversions: true,
    });
  });

  test("reads the boot header", () => {
    expect(image.bzImage?.header).toMatchObject({
      protocol: 0x020f,
      setupSects: 3,
      kernelVersion: "6.12.0-test (builder@example.org) #1 SMP",
      kernelAlignment: 0x200000,
      relocatable: true,
      cmdlineSize: 2047,
      prefAddress: 0x1000000n,
      xloadflags: { kernel64: true, canBeLoadedAbove4G: true, efiKexec: true, memoryEncryption: false },
    });
    expect(image.bzImage?.compression).toBe("gzip");
    expect(image.bzImage?.setupHeader).toHaveLength(0x202 + 0x6a - 0x1f1);
  });

  test("lists symbols as the kernel does", () => {
    expect(image.symbols).toEqual(testSymbols);
    expect(KernelImage.fromBytes(vmlinux, "vmlinux").symbols).toEqual(testSymbols);
  });

  test("finds symbols by name and by address", () => {
    expect(image.symbolsNamed("twin").map(({ address }) => address)).toEqual([
      0xffffffff81008100n,
      0xffffffff81008200n,
    ]);
    expect(image.symbolsNamed("absent")).toEqual([]);
    expect(image.symbolsAt(0xffffffff81000000n).map(({ name }) => name)).toEqual(
      testSymbols.filter(({ address }) => address === 0xffffffff81000000n).map(({ name }) => name),
    );
    expect(image.symbolsAt(0xffffffff81000001n)).toEqual([]);
    expect(image.symbolContaining(0xffffffff81008105n)).toEqual({
      symbol: { name: "twin", type: "t", address: 0xffffffff81008100n },
      offset: 5,
    });
    expect(image.symbolContaining(0xffffffff81000001n)?.symbol).toEqual(
      image.symbolsAt(0xffffffff81000000n)[0],
    );
    expect(image.symbolContaining(0xffffffff70000000n)).toBeUndefined();
    expect(image.symbolContaining(0n)).toBeUndefined();
  });

  test("reads memory that the file backs", () => {
    expect([...image.read(0xffffffff810082ffn, 2)!]).toEqual([0x90, 0xc3]);
    expect(image.read(0xffffffff80ffffffn, 1)).toBeUndefined();
    expect(image.read(0xffffffff81000000n, 1 << 30)).toBeUndefined();
    const bss = image.elf.section(".bss")!;
    expect(image.read(bss.address, 1)).toBeUndefined();
  });

  test("reads exports with their CRCs", () => {
    expect(Object.fromEntries(image.exports)).toEqual({
      last_function: { address: 0xffffffff81008300n, crc: 0x11223344, gplOnly: false, namespace: "" },
      klp_enable_patch: {
        address: 0xffffffff81008000n,
        crc: 0xdeadbeef,
        gplOnly: true,
        namespace: "LIVEPATCH",
      },
    });
  });
});

describe("bad images", () => {
  const refuse = (bytes: Uint8Array, message: RegExp) =>
    expect(() => KernelImage.fromBytes(bytes, "file")).toThrow(
      expect.objectContaining({ code: "RK-BAD-IMAGE", message: expect.stringMatching(message) }),
    );

  test("are refused with the reason", () => {
    refuse(new Uint8Array(0), /neither a bzImage nor an ELF file/);
    refuse(new Uint8Array(100_000).fill(0x5a), /neither a bzImage nor an ELF file/);
    refuse(bzImage.subarray(0, bzImage.length - 100), /lies outside the file/);
    refuse(bzImage.subarray(0, 1000), /file/);
    const arm = new Uint8Array(4096);
    arm.set(Buffer.from("ARM\x64"), 56);
    refuse(arm, /ARM 64/);
    refuse(gzipSync(arm), /ARM 64/);
    refuse(
      buildBzImage(vmlinux, (header) => header.writeUInt16LE(0, 0x236)),
      /32-bit/,
    );
    refuse(
      buildBzImage(vmlinux, (header) => header.writeUInt16LE(0x0201, 0x206)),
      /2\.01 is older/,
    );
    const foreign = vmlinux.slice();
    foreign[18] = 183;
    refuse(foreign, /ARM 64/);
    refuse(buildBzImage(foreign), /ARM 64/);
    refuse(buildModule(), /object file or a module/);
  });

  test("an image that unpacks to more than it announces is refused", () => {
    const image = buildBzImage(vmlinux, (header) => header.writeUInt32LE(4096, 0x260));
    expect(() => KernelImage.fromBytes(image, "file")).toThrow(/more than the 4096 possible/);
  });

  test("an image without kallsyms says so when symbols are asked for", () => {
    const bytes = vmlinux.slice();
    const rodata = image.elf.section(".rodata")!;
    bytes.fill(0, rodata.offset + 1024, rodata.offset + rodata.size);
    const bare = KernelImage.fromBytes(bytes, "vmlinux");
    expect(bare.release).toBe("6.12.0-test");
    expect(() => bare.symbols).toThrow(expect.objectContaining({ code: "RK-NO-KALLSYMS" }));
  });

  test("files that are none are refused", async () => {
    await expect(KernelImage.open(folder)).rejects.toThrow(/it is a folder/);
    await expect(KernelImage.open(join(folder, "absent"))).rejects.toThrow(/no such file/);
    await expect(KernelImage.open("/dev/zero")).rejects.toThrow(/not a regular file/);
    await writeFile(join(folder, "empty"), "");
    await expect(openImageOrModule(join(folder, "empty"))).rejects.toThrow(/it is empty/);
  });

  test("mutated ones give an answer or a reason", () => {
    const touch = (bytes: Uint8Array) => {
      try {
        const mutated = KernelImage.fromBytes(bytes, "file");
        mutated.buildId;
        mutated.exports;
        mutated.features;
        mutated.symbolsAt(0xffffffff81000000n);
        mutated.symbolContaining(0xffffffff81000010n);
        mutated.read(0xffffffff81000000n, 64);
      } catch (error) {
        expect(error).toBeInstanceOf(RekernelError);
      }
    };
    const headers = fc.oneof(
      fc.nat(0x3ff),
      fc.nat(vmlinux.length - 1),
      fc.integer({ min: 0, max: 64 * 20 }).map((at) => vmlinux.length - 1 - at),
    );
    fc.assert(
      fc.property(
        fc.array(fc.tuple(headers, fc.nat(255)), { minLength: 1, maxLength: 12 }),
        fc.boolean(),
        (changes, packed) => {
          const bytes = packed ? bzImage.slice() : vmlinux.slice();
          for (const [at, value] of changes) bytes[at % bytes.length] = value;
          touch(bytes);
        },
      ),
      { numRuns: 300 },
    );
  });

  test("any header bytes are read or refused", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.integer({ min: 0x1f1, max: 0x270 }), fc.nat(255))), (changes) => {
        const bytes = bzImage.slice();
        for (const [at, value] of changes) bytes[at] = value;
        try {
          readBzImage(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(RekernelError);
        }
      }),
    );
  });
});
