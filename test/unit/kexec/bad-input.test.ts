import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { fuzzPlanner } from "../../../bench/planner-fuzz.ts";
import { cpioArchive } from "../../../src/formats/cpio.ts";
import { type KexecRequest, planKexec } from "../../../src/kexec/plan.ts";
import { rekernel } from "../cli/run.ts";
import { type SampleImage, sampleImages } from "./sample-images.ts";

const folder = mkdtempSync(join(tmpdir(), "rekernel-unit-"));
afterAll(() => rmSync(folder, { recursive: true }));
const at = (name: string) => join(folder, name);
function put(name: string, bytes: string | Uint8Array): string {
  writeFileSync(at(name), bytes);
  return at(name);
}

const machine = { proc: at("proc"), sys: at("sys"), dev: at("dev"), run: at("run") };
const archive = cpioArchive([{ kind: "file", path: "init", data: Buffer.alloc(3000, "init") }]);
let samples: Map<string, SampleImage>;
let memoryMap: string;
beforeAll(() => {
  samples = new Map(sampleImages().map((sample) => [sample.name, sample]));
  for (const { name, bytes } of samples.values()) put(name, bytes);
  put("module", "a module");
  put("initrd", archive);
  memoryMap = put("map", "00001000-0009fbff : System RAM\n00100000-3fffffff : System RAM\n");
});

/** The plan for an image of its kind, with what goes with that. */
function plan(name: string, changes: Partial<KexecRequest> = {}) {
  const beside = name.startsWith("multiboot")
    ? { modules: [{ path: at("module"), commandLine: "" }] }
    : { initrds: [at("initrd")] };
  return planKexec({ image: at(name), memoryMap, ...beside, ...changes }, "", machine);
}

const kinds = [
  "bzimage",
  "bzimage-32",
  "bzimage-kaslr",
  "vmlinux",
  "vmlinux-relocatable",
  "uki",
  "elf32",
  "multiboot",
  "multiboot-flat",
  "multiboot2",
  "multiboot2-relocatable",
  "bzimage.gz",
  "vmlinux.zst",
  "multiboot2.gz",
];

describe.each(kinds)("%s", (name) => {
  test("is planned as it is, and cut off it is refused", async () => {
    const whole = await plan(name);
    expect(whole.layout!.segments.map((segment) => segment.name)).toContain("purgatory");
    const { bytes } = samples.get(name)!;
    // Behind the last bytes that are needed, ELF files and bzImages have some that are not.
    for (const keep of [0.01, 0.1, 0.3, 0.5].map((part) => Math.ceil(bytes.length * part))) {
      const cut = put("cut", bytes.subarray(0, keep));
      await expect(plan(name, { image: cut })).rejects.toMatchObject({
        // Without its header a multiboot kernel is an ELF file like others, and those take no modules.
        code: expect.stringMatching(/^RK-(BAD-(IMAGE|ELF|COMPRESSION)|USAGE)$/),
        hint: expect.stringMatching(/./),
      });
    }
  });

  test("takes no command line with a NUL, nor one that is too long", async () => {
    await expect(plan(name, { commandLine: "root=/dev/vda1\0init=/bin/sh" })).rejects.toMatchObject({
      code: "RK-USAGE",
      message: expect.stringContaining("NUL"),
    });
    await expect(plan(name, { commandLine: "x".repeat(70_000) })).rejects.toMatchObject({
      code: "RK-COMMAND-LINE-TOO-LONG",
      message: expect.stringMatching(/takes 70001 bytes, but .* accepts \d+ at most/),
    });
  });

  test("without room names the closest fit", async () => {
    const small = put("small", "00001000-0009fbff : System RAM\n00100000-0010ffff : System RAM\n");
    await expect(plan(name, { memoryMap: small })).rejects.toMatchObject({
      code: "RK-KEXEC-NO-ROOM",
      message: expect.stringMatching(
        /no room for the \S+.*: it needs .*(largest free range|nothing is free)/,
      ),
    });
    const none = put("none", "00000000-3fffffff : Reserved\n");
    await expect(plan(name, { memoryMap: none })).rejects.toMatchObject({ code: "RK-BAD-MEMORY-MAP" });
  });
});

describe("files that are no kernels", () => {
  const elf = (machineNumber: number, bits: 1 | 2, order: 1 | 2) => {
    const bytes = Buffer.alloc(4096);
    bytes.set([0x7f, 0x45, 0x4c, 0x46, bits, order, 1]);
    bytes.set(order === 1 ? [2, 0] : [0, 2], 16);
    bytes.set(
      order === 1 ? [machineNumber & 255, machineNumber >> 8] : [machineNumber >> 8, machineNumber & 255],
      18,
    );
    return bytes;
  };
  const raw = (magic: string, offset: number) => {
    const bytes = Buffer.alloc(4096);
    bytes.write(magic, offset, "latin1");
    return bytes;
  };
  test.each([
    ["ARM 64", raw("ARM\x64", 56)],
    ["RISC-V", raw("RSC\x05", 56)],
    ["ARM", raw("\x18\x28\x6f\x01", 0x24)],
    ["ARM 64", elf(183, 2, 1)],
    ["RISC-V", elf(243, 2, 1)],
    ["PowerPC 64", elf(21, 2, 2)],
    ["S/390", elf(22, 2, 2)],
    ["MIPS", elf(8, 1, 2)],
    ["LoongArch", elf(258, 2, 1)],
    ["ELF machine 4660", elf(0x1234, 2, 1)],
  ])("a kernel for %s says so, packed as well", async (name, bytes) => {
    for (const content of [bytes, gzipSync(bytes)])
      await expect(plan("bzimage", { image: put("foreign", content) })).rejects.toMatchObject({
        code: "RK-BAD-IMAGE",
        message: expect.stringContaining(name),
      });
  });

  test("random bytes, a text, an empty file, a folder and a pipe are told apart", async () => {
    const random = Buffer.from(
      Array.from({ length: 100_000 }, (_, index) => (index * index * 31 + 7) & 0xff),
    );
    const refused = async (image: string, code: string, message: RegExp) =>
      expect(plan("bzimage", { image })).rejects.toMatchObject({
        code,
        message: expect.stringMatching(message),
      });
    await refused(put("random", random), "RK-BAD-IMAGE", /no kernel/);
    await refused(put("text", "#!/bin/sh\n"), "RK-BAD-IMAGE", /no kernel/);
    await refused(put("empty", ""), "RK-FILE", /it is empty/);
    await refused(folder, "RK-FILE", /it is a folder/);
    await refused(at("missing"), "RK-FILE", /no such file/);
    execFileSync("mkfifo", [at("pipe")]);
    await refused(at("pipe"), "RK-FILE", /not a regular file/);
  });

  test("programs, objects and modules are no kernels", async () => {
    writeFileSync(at("object.c"), "int main(void) { return 0; }\n");
    execFileSync("gcc", ["-c", "-o", at("object.o"), at("object.c")]);
    execFileSync("gcc", ["-o", at("program"), at("object.c")]);
    for (const name of ["object.o", "program"])
      await expect(plan("bzimage", { image: at(name) })).rejects.toMatchObject({
        code: expect.stringMatching(/^RK-BAD-(IMAGE|ELF)$/),
      });
  });

  test("what unpacks to far more than any kernel is given up early", async () => {
    const zeros = Buffer.alloc(8 << 20);
    const many = (bytes: Uint8Array) => Buffer.concat(Array.from({ length: 30 }, () => bytes));
    for (const bomb of [many(gzipSync(zeros)), many(zstdCompressSync(zeros))])
      await expect(plan("bzimage", { image: put("bomb", bomb) })).rejects.toMatchObject({
        code: "RK-BAD-COMPRESSION",
        message: expect.stringMatching(/unpacks to more than 67108864 bytes/),
      });
  });
});

describe("initrds and modules", () => {
  test("that are not there are named", async () => {
    for (const [path, message] of [
      [at("missing"), /initrd .*missing/],
      [folder, /initrd .* (folder|not a file)/],
      [put("empty", ""), /initrd .* empty/],
    ] as const) {
      const expected = { code: "RK-FILE", message: expect.stringMatching(message) };
      // The kernel reads a single file by itself, others are put together here.
      for (const changes of [{ memoryMap: undefined, syscall: "kexec_file_load" as const }, {}])
        await expect(plan("bzimage", { initrds: [path], ...changes })).rejects.toMatchObject(expected);
      await expect(plan("bzimage", { initrds: [at("initrd"), path] })).rejects.toMatchObject(expected);
    }
    const modules = [{ path: at("missing"), commandLine: "" }];
    await expect(plan("multiboot", { modules })).rejects.toMatchObject({
      code: "RK-FILE",
      message: expect.stringMatching(/module .*missing/),
    });
  });

  test("damaged ones are noted, since the kernel finds out after the jump", async () => {
    const cut = put("initrd.cut", archive.subarray(0, 2000));
    const junk = put("initrd.junk", Buffer.alloc(5000, "junk"));
    for (const changes of [{ memoryMap: undefined, syscall: "kexec_file_load" as const }, {}]) {
      expect((await plan("bzimage", changes)).notes.join()).not.toMatch(/The initrd/);
      expect((await plan("bzimage", { initrds: [cut], ...changes })).notes.join()).toMatch(
        /is cut off: it ends within init/,
      );
      expect((await plan("bzimage", { initrds: [junk], ...changes })).notes.join()).toMatch(
        /begins with neither/,
      );
    }
  });

  test("go to the kernels that take them", async () => {
    const modules = [{ path: at("module"), commandLine: "words" }];
    await expect(plan("bzimage", { modules })).rejects.toMatchObject({
      code: "RK-USAGE",
      message: expect.stringContaining("takes no modules"),
    });
    await expect(plan("multiboot2", { initrds: [at("initrd")] })).rejects.toMatchObject({
      code: "RK-USAGE",
      hint: expect.stringContaining("--module"),
    });
    await expect(
      plan("multiboot", { modules: [{ path: at("module"), commandLine: "a\0b" }] }),
    ).rejects.toMatchObject({ code: "RK-USAGE" });
  });

  test("a module packed with gzip is unpacked, unless something follows", async () => {
    const text = Buffer.alloc(5000, "words ");
    const bytesOf = async (data: Uint8Array) => {
      const modules = [{ path: put("packed", data), commandLine: "" }];
      return (await plan("multiboot", { modules })).modules[0]!.bytes;
    };
    expect(await bytesOf(gzipSync(text))).toBe(5000);
    const followed = Buffer.concat([gzipSync(text), Buffer.from("070701")]);
    expect(await bytesOf(followed)).toBe(followed.length);
    expect(await bytesOf(gzipSync(text).subarray(0, 40))).toBe(40);
  });
});

describe("rekernel kexec load --module", () => {
  test("takes several, each with its words, and shows them in the plan", async () => {
    const args = ["kexec", "load", at("multiboot"), "--memory-map", memoryMap, "--dry-run"];
    const modules = ["--module", `${at("module")} one two`, "--module", at("initrd")];
    const { exitCode, stdout } = await rekernel([...args, ...modules]);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/module +\S+module .*one two/);
    expect(stdout).toMatch(/boot information +10000-10fff/);
    const { stdout: json } = await rekernel([...args, ...modules, "--json"]);
    expect(JSON.parse(json)).toMatchObject({
      kind: "multiboot",
      modules: [
        { path: at("module"), commandLine: "one two", bytes: 8 },
        { path: at("initrd"), commandLine: "" },
      ],
    });
    expect((await rekernel([...args, "--module", " "])).exitCode).toBe(2);
  });
});

test("a kernel whose modules the running system lacks is noted", async () => {
  mkdirSync(at("proc"), { recursive: true });
  const { notes } = await planKexec({ image: at("bzimage"), syscall: "kexec_file_load" }, "", machine);
  expect(notes.join()).toMatch(/no modules for 6\.12\.0-test/);
});

test("400 mutated images of every kind end in a plan or a clear error", async () => {
  const { plans, errors, slowestMs } = await fuzzPlanner(400, 7);
  expect(plans + errors).toBe(400);
  expect(plans).toBeGreaterThan(50);
  expect(errors).toBeGreaterThan(50);
  expect(slowestMs).toBeLessThan(30_000);
});
