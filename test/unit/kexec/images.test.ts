import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { RekernelError } from "../../../src/core/errors.ts";
import { documents } from "../../../src/documents/documents.ts";
import { KernelImage } from "../../../src/kernel/image.ts";
import { openImageOrModule } from "../../../src/kernel/open.ts";
import { type KexecRequest, planKexec, prepareKexec } from "../../../src/kexec/plan.ts";
import { rekernel } from "../cli/run.ts";
import { buildPe, buildUki } from "../formats/build-pe.ts";
import { buildBzImage, buildVmlinux } from "../kernel/build-image.ts";

const folder = mkdtempSync(join(tmpdir(), "rekernel-unit-"));
const at = (name: string) => join(folder, name);
let vmlinux: Uint8Array;
let bzImage: Uint8Array;

function put(name: string, bytes: string | Uint8Array): string {
  writeFileSync(at(name), bytes);
  return at(name);
}

beforeAll(() => {
  vmlinux = buildVmlinux();
  bzImage = buildBzImage(vmlinux);
  put("vmlinuz", bzImage);
  put("vmlinux", vmlinux);
  put(
    "uki.efi",
    buildUki([
      [".osrel", 'PRETTY_NAME="Debian"'],
      [".cmdline", "root=/dev/vda1 quiet\n"],
      [".dtb", "device tree"],
      [".pcrpkey", "key"],
      [".initrd", "070701 initrd"],
      [".ucode", "070701 ucode!"],
      [".linux", bzImage],
      [".profile", "ID=regular"],
      [".profile", "ID=reset\nTITLE=Factory reset"],
      [".cmdline", "factory"],
    ]),
  );
  put("initrd.a", "070701 first");
  put("initrd.b", "070701 the second");
});
afterAll(() => rmSync(folder, { recursive: true }));

/** What kexec_file_load would get. */
async function handedOver(request: KexecRequest) {
  const { plan, handover } = await prepareKexec(request, "");
  if (handover.by !== "kexec_file_load") throw new Error(`it goes by ${handover.by}`);
  return { ...handover, plan };
}

const bytesOf = (file: unknown) => Buffer.concat(file as Uint8Array[]).toString("latin1");

describe("a unified kernel image", () => {
  test("gives kernel, initrds in order, and command line", async () => {
    const { plan, kernel, initrd } = await handedOver({ image: at("uki.efi") });
    expect(plan).toMatchObject({
      release: "6.12.0-test",
      kernelFrom: `.linux of ${at("uki.efi")}`,
      kernelBytes: bzImage.length,
      profile: "@0 (regular)",
      initrds: [
        { from: `.ucode of ${at("uki.efi")}`, bytes: 13 },
        { from: `.initrd of ${at("uki.efi")}`, bytes: 13 },
      ],
      commandLine: "root=/dev/vda1 quiet",
      commandLineFrom: "image",
    });
    expect(plan.notes.join(" ")).toMatch(/device tree .* TPM/);
    expect(Buffer.compare(Buffer.concat(kernel as Uint8Array[]), bzImage)).toBe(0);
    expect(bytesOf(initrd)).toBe(`070701 ucode!${"\0".repeat(7)}070701 initrd`);
    expect(plan.initrdBytes).toBe(33);
  });

  test("further initrds come behind its own; a command line that is given replaces its", async () => {
    const { plan, initrd } = await handedOver({
      image: at("uki.efi"),
      profile: "reset",
      initrds: [at("initrd.a"), at("initrd.b")],
      commandLine: "mine",
      append: "more",
    });
    expect(plan).toMatchObject({ profile: "@1 (reset)", commandLine: "mine more", commandLineFrom: "given" });
    expect(bytesOf(initrd).replaceAll("\0", "").split("070701 ").slice(1)).toEqual([
      "ucode!",
      "initrd",
      "first",
      "the second",
    ]);
    const appended = await planKexec({ image: at("uki.efi"), profile: "@1", append: "more" }, "");
    expect(appended).toMatchObject({ commandLine: "factory more", commandLineFrom: "image" });
    const reused = await planKexec({ image: at("uki.efi"), reuse: true }, "BOOT_IMAGE=/x ro");
    expect(reused).toMatchObject({ commandLine: "ro", commandLineFrom: "running" });
  });

  test("a profile that is not there is wrong usage", async () => {
    await expect(planKexec({ image: at("uki.efi"), profile: "2" }, "")).rejects.toMatchObject({
      code: "RK-USAGE",
      hint: "It has @0 (regular), @1 (reset).",
    });
    await expect(planKexec({ image: at("vmlinuz"), profile: "0" }, "")).rejects.toMatchObject({
      code: "RK-USAGE",
    });
  });

  test("rekernel image info shows what is in it", async () => {
    const text = await rekernel(["image", "info", at("uki.efi")]);
    expect(text.stdout).toMatch(/^Linux 6\.12\.0-test\n/);
    expect(text.stdout).toMatch(/unified image +not signed/);
    expect(text.stdout).toMatch(/profile @1 +reset, Factory reset/);
    expect(text.stdout).toMatch(/sections .*\.linux \d+/);
    const { stdout } = await rekernel(["image", "info", at("uki.efi"), "--json"]);
    const document = documents["rekernel image info (a kernel)"]!.parse(JSON.parse(stdout));
    expect(document).toMatchObject({
      kind: "uki",
      uki: { signed: false, profiles: [{ id: "regular", osName: "Debian" }, { commandLine: "factory" }] },
    });
  });
});

describe("packed kernels", () => {
  const hasTool = (name: string) => spawnSync(name, ["--version"]).status === 0;
  const packers: [string, (bytes: Uint8Array) => Uint8Array, boolean][] = [
    ["gzip", gzipSync, true],
    ["zstd", zstdCompressSync, true],
    ["xz", (input) => spawnSync("xz", ["-c"], { input, maxBuffer: 1 << 26 }).stdout, hasTool("xz")],
    ["lz4", (input) => spawnSync("lz4", ["-l", "-c"], { input, maxBuffer: 1 << 26 }).stdout, hasTool("lz4")],
  ];
  for (const [kind, pack, possible] of packers)
    test.skipIf(!possible)(`a bzImage packed with ${kind} is unpacked`, async () => {
      const image = put(`vmlinuz.${kind}`, pack(bzImage));
      const { plan, kernel } = await handedOver({ image });
      expect(plan).toMatchObject({
        release: "6.12.0-test",
        kernelFrom: `${image} (packed with ${kind})`,
        commandLineFrom: "none",
      });
      expect(Buffer.compare(Buffer.concat(kernel as Uint8Array[]), bzImage)).toBe(0);
      expect(await openImageOrModule(image)).toBeInstanceOf(KernelImage);
    });

  test("so is one in a unified kernel image, and one that is not packed is read by the kernel itself", async () => {
    const uki = put("packed.efi", buildUki([[".linux", gzipSync(bzImage)]]));
    expect((await planKexec({ image: uki }, "")).kernelBytes).toBe(bzImage.length);
    const { kernel, initrd } = await handedOver({ image: at("vmlinuz"), initrds: [at("initrd.a")] });
    expect([kernel, initrd]).toEqual([at("vmlinuz"), at("initrd.a")]);
    expect((await handedOver({ image: at("vmlinuz") })).initrd).toBeUndefined();
  });

  test("a damaged one is told as such", async () => {
    const image = put("damaged.gz", gzipSync(bzImage).subarray(0, 3000));
    await expect(planKexec({ image }, "")).rejects.toMatchObject({ code: "RK-BAD-COMPRESSION" });
  });
});

describe("what cannot be started", () => {
  test("a vmlinux is told from a damaged file", async () => {
    const expected = { code: "RK-KEXEC-VMLINUX", exitCode: 4, hint: expect.stringContaining("vmlinuz") };
    const plan = (image: string) => planKexec({ image, syscall: "kexec_file_load" }, "");
    await expect(plan(at("vmlinux"))).rejects.toMatchObject(expected);
    const packed = put("vmlinux.gz", gzipSync(vmlinux));
    await expect(plan(packed)).rejects.toMatchObject(expected);
    const inside = put("vmlinux.efi", buildUki([[".linux", vmlinux]]));
    await expect(plan(inside)).rejects.toMatchObject(expected);
  });

  const arm64 = new Uint8Array(4096);
  arm64.set(Buffer.from("ARM\x64"), 56);
  const zboot = buildPe([{ name: ".text", data: Buffer.from("x") }], { machine: 0xaa64 });
  zboot.set(Buffer.from("MZ\0\0zimg"));
  test.each([
    ["an arm64 Image", arm64, /it is an ARM 64 kernel, and rekernel works with x86-64 kernels/],
    ["an arm64 Image.gz", gzipSync(arm64), /it is an ARM 64 kernel/],
    ["an EFI program", buildUki([[".linux", arm64]], { machine: 0xaa64 }), /it is for ARM 64/],
    ["an EFI zboot image", zboot, /a compressed EFI kernel \(zboot\) for ARM 64/],
    ["an x86-64 stub around an arm64 kernel", buildUki([[".linux", arm64]]), /section \.linux of .* ARM 64/],
    ["an add-on", buildUki([[".cmdline", "x"]]), /add-on to a unified kernel image without/],
  ])("%s says so", async (_name, bytes, message) => {
    const image = put("foreign", bytes);
    await expect(planKexec({ image }, "")).rejects.toMatchObject({
      code: "RK-BAD-IMAGE",
      message: expect.stringMatching(message),
    });
  });

  test("a missing initrd is named", async () => {
    for (const initrds of [["/nonexistent"], [at("initrd.a"), "/nonexistent"]])
      await expect(planKexec({ image: at("vmlinuz"), initrds }, "")).rejects.toMatchObject({
        code: "RK-FILE",
        message: expect.stringContaining("the initrd /nonexistent"),
      });
  });
});

test("mutated images are planned or refused", async () => {
  const uki = readFileSync(at("uki.efi"));
  const change = fc.tuple(fc.nat({ max: uki.length - 1 }), fc.nat({ max: 255 }));
  const inHeaders = fc.tuple(fc.nat({ max: 2048 }), fc.nat({ max: 255 }));
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.oneof(change, inHeaders), { minLength: 1, maxLength: 10 }),
      fc.nat({ max: uki.length }),
      async (changes, size) => {
        const bytes = Buffer.from(uki);
        for (const [at, value] of changes) bytes[at] = value;
        const image = put("mutated", size % 4 === 0 ? bytes.subarray(0, size) : bytes);
        try {
          await prepareKexec({ image }, "");
        } catch (error) {
          if (!(error instanceof RekernelError)) throw error;
        }
      },
    ),
    { numRuns: 500 },
  );
});

describe("rekernel kexec load --dry-run", () => {
  test("shows the plan and changes nothing", async () => {
    const { exitCode, stdout, stderr } = await rekernel([
      ...[
        "kexec",
        "load",
        at("uki.efi"),
        "--initrd",
        at("initrd.a"),
        "--initrd",
        at("initrd.b"),
        "--dry-run",
      ],
    ]);
    expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
    expect(stdout).toMatch(/^6\.12\.0-test would be loaded:\n/);
    expect(stdout).toMatch(/kernel +\.linux of .*uki\.efi/);
    expect(stdout).toMatch(/initrd +\.ucode of .*\n +\.initrd of .*\n +.*initrd\.a.*\n +.*initrd\.b/);
    expect(stdout).toMatch(/command line +root=\/dev\/vda1 quiet \(the image's own\)/);
    expect(stdout).not.toContain("is loaded");
  });

  test("--json prints it as documented", async () => {
    const { stdout } = await rekernel(["kexec", "load", at("vmlinuz"), "--dry-run", "--json"]);
    expect(documents["rekernel kexec load"]!.parse(JSON.parse(stdout))).toMatchObject({
      loaded: false,
      kernelFrom: at("vmlinuz"),
      initrds: [],
      commandLine: "",
      commandLineFrom: "none",
    });
  });
});
