import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { runTool, runToolOk } from "../../src/core/tools.ts";
import { buildPurgatory, purgatoryMemoryBytes } from "../../src/kexec/purgatory/purgatory.ts";
import type { DigestKind, Handover } from "../../src/kexec/purgatory/request.ts";
import type { Segment } from "../../src/kexec/segments/segment.ts";

const sources = join(import.meta.dirname, "purgatory");
/** Where the kernel that is jumped to lies, and a region besides. */
const nextKernel = 0x2000000;
const besides = 0x3000000n;

interface Jump {
  handover: Handover;
  digest?: DigestKind;
  /** Where the purgatory goes. */
  target?: bigint | undefined;
  fiveLevels?: boolean | undefined;
  /** What the memory at {@link besides} is said to be; what it really is by default. */
  expected?: Uint8Array;
  memoryMiB?: number | undefined;
}

const initrd = Buffer.from("initrd ".repeat(1000).slice(0, 6997));

/** One jump in a machine of its own, through the real purgatory, between two stand-ins for kernels. */
async function jump({ target = 0x5000000n, ...options }: Jump) {
  const folder = await mkdtemp(join(tmpdir(), "rekernel-purgatory-test-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const bits = options.handover.kind === "linux-64" ? 64 : 32;
  const compile = (name: string, ...flags: string[]) =>
    runToolOk("gcc-12", [...flags, "-c", "-o", `${name}.o`, join(sources, `${name}.S`)], { cwd: folder });
  const link = (output: string, ...args: string[]) =>
    runToolOk("ld", ["--no-warn-rwx-segments", "-N", "-o", output, ...args], { cwd: folder });
  const at = (section: string, address: bigint | number) =>
    `--section-start=${section}=0x${address.toString(16)}`;

  await compile("next-kernel", `-m${bits}`, `-DBITS=${bits}`);
  const format = bits === 64 ? "elf_x86_64" : "elf_i386";
  await link("next.elf", "-m", format, "-e", "next_kernel", at(".text", nextKernel), "next-kernel.o");
  await runToolOk("objcopy", ["-O", "binary", "next.elf", "next.bin"], { cwd: folder });
  await writeFile(join(folder, "initrd.bin"), initrd);
  const segment = (name: string, address: bigint, data: Uint8Array): Segment => ({
    name,
    address,
    data,
    memoryBytes: Math.ceil(data.length / 4096) * 4096,
  });
  const { data, entryOffset } = buildPurgatory({
    handover: options.handover,
    digest: options.digest ?? "sha256",
    segments: [
      segment("kernel", BigInt(nextKernel), await readFile(join(folder, "next.bin"))),
      segment("initrd", besides, options.expected ?? initrd),
    ],
    serialPort: 0x3f8,
  });
  expect(entryOffset).toBe(0);
  await writeFile(join(folder, "purgatory.bin"), data);
  await compile(
    "old-kernel",
    "-m32",
    `-DLA57=${options.fiveLevels === true ? 1 : 0}`,
    `-DTARGET=${target}`,
    `-DMEMORY_BYTES=${purgatoryMemoryBytes}`,
    `-I${folder}`,
  );
  const parts = [at(".text", 0x100000), at(".next_kernel", nextKernel), at(".initrd", besides)];
  await link("all.elf", "-m", "elf_i386", ...parts, "old-kernel.o");
  const { exitCode } = await runTool("qemu-system-x86_64", [
    ...["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-machine", "pc"],
    ...["-m", `${options.memoryMiB ?? 128}M`, "-cpu", "max,la57=on", "-accel", "tcg,thread=single"],
    ...["-kernel", join(folder, "all.elf"), "-serial", `file:${join(folder, "serial")}`],
    ...["-debugcon", `file:${join(folder, "found")}`, "-device", "isa-debug-exit,iobase=0xf4,iosize=4"],
  ]);
  const found = await readFile(join(folder, "found"));
  const names = "rax rbx rcx rdx rsi rdi rbp cs ds es ss flags cr0 cr4 efer".split(" ");
  return {
    exitCode,
    serial: await readFile(join(folder, "serial"), "latin1"),
    found: Object.fromEntries(
      names.flatMap((name, index) =>
        index * 8 + 8 <= found.length ? [[name, Number(found.readBigUInt64LE(index * 8))]] : [],
      ),
    ),
  };
}

/** What the stand-in for the next kernel ends the machine with, as QEMU reports it. */
const entered = 0x21;
const reset = 0;

const flatSegments = { cs: 0x10, ds: 0x18, es: 0x18, ss: 0x18 };
const [paging, protection] = [2 ** 31, 1];
const interruptsOrBackwards = 0x600;

/** A number's bits, in numbers that bitwise operators would make negative. */
const has = (value: number | undefined, bits: number) => (BigInt(value ?? 0) & BigInt(bits)) === BigInt(bits);

describe("the purgatory", () => {
  test.each([
    { what: "sha256", digest: "sha256" as const },
    {
      what: "sums, above 4 GiB, with five levels of page tables",
      digest: "sum" as const,
      fiveLevels: true,
      target: 0x1_4567_8000n,
    },
  ])("enters Linux by its 64-bit protocol: $what", async ({ digest, fiveLevels, target }) => {
    const bootParams = 0x1_2345_6000n;
    const { exitCode, serial, found } = await jump({
      handover: { kind: "linux-64", entry: BigInt(nextKernel), bootParams },
      digest,
      fiveLevels,
      target,
      memoryMiB: target === undefined ? undefined : 6144,
    });
    expect({ exitCode, serial }).toEqual({ exitCode: entered, serial: "" });
    expect(found).toMatchObject({ ...flatSegments, rsi: Number(bootParams) });
    expect(found).toMatchObject({ rax: 0, rbx: 0, rcx: 0, rdx: 0, rdi: 0, rbp: 0 });
    expect(has(found.cr0, paging + protection)).toBe(true);
    expect(found.flags! & interruptsOrBackwards).toBe(0);
    expect(has(found.cr4, 1 << 12)).toBe(fiveLevels === true);
  });

  test.each([
    { fiveLevels: false, digest: "sum" as const },
    { fiveLevels: true, digest: "sha256" as const },
  ])(
    "enters Linux by its 32-bit protocol: five levels of page tables $fiveLevels, $digest",
    async ({ fiveLevels, digest }) => {
      const { exitCode, serial, found } = await jump({
        handover: { kind: "linux-32", entry: nextKernel, bootParams: 0x90000 },
        digest,
        fiveLevels,
        target: 0xa123_4000n,
        memoryMiB: 3072,
      });
      expect({ exitCode, serial }).toEqual({ exitCode: entered, serial: "" });
      expect(found).toMatchObject({ ...flatSegments, rsi: 0x90000, rbx: 0, rdi: 0, rbp: 0, cr4: 0, efer: 0 });
      expect(has(found.cr0, protection)).toBe(true);
      expect(has(found.cr0, paging)).toBe(false);
      expect(found.flags! & interruptsOrBackwards).toBe(0);
    },
  );

  test("enters a multiboot kernel", async () => {
    const [magic, information] = [0x36d76289, 0x91238];
    const { exitCode, found } = await jump({
      handover: { kind: "multiboot", entry: nextKernel, magic, information },
    });
    expect(exitCode).toBe(entered);
    expect(found).toMatchObject({ ...flatSegments, rax: magic, rbx: information, cr4: 0, efer: 0 });
    expect(has(found.cr0, paging)).toBe(false);
  });

  test.each(["sha256", "sum"] as const)(
    "resets the machine when a single bit has changed, and says where: %s",
    async (digest) => {
      const expected = Uint8Array.from(initrd);
      expected[6996]! ^= 0x10;
      const { exitCode, serial, found } = await jump({
        handover: { kind: "linux-64", entry: BigInt(nextKernel), bootParams: 0n },
        digest,
        expected,
      });
      expect(found).toEqual({});
      expect(exitCode).toBe(reset);
      expect(serial).toBe(
        "rekernel: initrd at 0x3000000 (6997 bytes) is not what was loaded.\r\nrekernel: resetting the machine.\r\n",
      );
    },
  );
});
