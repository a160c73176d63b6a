import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import { bootableKernel } from "../../src/kernel/target.ts";
import { bootVm, type Vm } from "../../src/lab/vm.ts";
import { builtExecutable } from "./executable.ts";
import { testKernels } from "./kernels.ts";
import { buildMultibootKernel, linkedAt } from "./multiboot/build.ts";

let rekernel: string;
beforeAll(async () => {
  rekernel = await builtExecutable();
});

async function load(vm: Vm, ...args: string[]) {
  const { exitCode, stdout } = await vm.run([rekernel, "kexec", "load", ...args, "--json"]);
  return { exitCode, result: JSON.parse(stdout) };
}

interface Told {
  /** Its words, as numbers: `magic=2badb002`. */
  fields: Record<string, number>;
  text: string;
}

/** What the small kernel said on the serial line, by kind of line. */
function told(console: string, from: number): Record<string, Told[]> {
  const lines: Record<string, Told[]> = {};
  for (const [, kind, rest] of console.slice(from).matchAll(/^mb: (\S+) ([^\r\n]*)/gm)) {
    const text = rest!.replace(/^((start|bytes|hash)=[0-9a-f]+ )*/, "").trim();
    const fields = Object.fromEntries(
      [...rest!.matchAll(/\b(\w+)=([0-9a-f]+) /g)].map(([, name, value]) => [
        name,
        Number.parseInt(value!, 16),
      ]),
    );
    lines[kind!] ??= [];
    lines[kind!]!.push({ fields, text });
  }
  return lines;
}

/** FNV-1a, as the small kernel computes it. */
function fnv(bytes: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash;
}

const types: Readonly<Record<string, number>> = {
  "System RAM": 1,
  Reserved: 2,
  "ACPI Tables": 3,
  "ACPI Non-volatile Storage": 4,
};

/** The firmware's map, as the guest's Linux shows it. */
async function firmwareMap(vm: Vm) {
  const { stdout } = await vm.run(
    "cd /sys/firmware/memmap; for n in *; do paste $n/start $n/end $n/type; done",
  );
  return stdout
    .trim()
    .split("\n")
    .map((line) => /(\S+)\s+(\S+)\s+(.*)/.exec(line)!)
    .map(([, start, end, type]) => ({
      base: Number(start),
      length: Number(end) + 1 - Number(start),
      type: types[type!]!,
    }))
    .sort((a, b) => a.base - b.base);
}

/** Neighbours of one type become one, as in the map that a kernel is given. */
function joined(map: { base: number; length: number; type: number }[]) {
  const result: typeof map = [];
  for (const range of map) {
    const last = result.at(-1);
    if (last?.type === range.type && last.base + last.length === range.base) last.length += range.length;
    else result.push({ ...range });
  }
  return result;
}

const small = Buffer.from("a small module\n");
const large = Buffer.from(Array.from({ length: 700_001 }, (_, index) => (index * 31) & 0xff));

/** Protected mode, no paging, no interrupts, everything beyond its file zeroed. */
function expectEntered(lines: Record<string, Told[]>, magic: number) {
  const { fields } = lines.entered![0]!;
  expect(fields).toMatchObject({ magic, dirt: 0 });
  expect(fields.cr0! & 0x80000001).toBe(1);
  expect(fields.eflags! & 0x20200).toBe(0);
  expect(lines.end).toHaveLength(1);
}

function expectModules(lines: Record<string, Told[]>) {
  const modules = lines.module!;
  expect(modules.map(({ text }) => text)).toEqual(["/share/small first=1 module", "/share/large"]);
  for (const [index, data] of [small, large].entries())
    expect(modules[index]!.fields).toMatchObject({ bytes: data.length, hash: fnv(data) });
  for (const { fields } of modules) expect(fields.start! % 4096).toBe(0);
}

test("stock 6.12 starts Multiboot kernels of both versions with modules", async () => {
  const { newest } = await testKernels();
  const share = await mkdtemp(join(tmpdir(), "rekernel-test-"));
  onTestFinished(() => rm(share, { recursive: true }));
  await Promise.all([
    writeFile(join(share, "one"), buildMultibootKernel({ version: 1, flat: true })),
    writeFile(
      join(share, "two.gz"),
      gzipSync(buildMultibootKernel({ version: 2, elf64: true, relocatable: true, powerOff: true })),
    ),
    writeFile(join(share, "small"), small),
    writeFile(join(share, "large"), large),
  ]);
  await using vm = await bootVm({ kernel: await bootableKernel(newest), share });
  const map = await firmwareMap(vm);
  const modules = ["--module", "/share/small first=1 module", "--module", "/share/large"];

  const one = await load(vm, "/share/one", ...modules, "--command-line", "version=1 quiet");
  expect(one).toMatchObject({
    exitCode: 0,
    result: { loaded: true, kind: "multiboot", method: "kexec_load" },
  });
  let before = vm.console().length;
  await vm.start([rekernel, "kexec", "exec"]);
  // It resets the machine, and the first kernel boots again.
  await vm.waitForBoot();
  const first = told(vm.console(), before);
  expectEntered(first, 0x2badb002);
  expect(first.entered![0]!.fields.start).toBe(linkedAt + 32);
  expectModules(first);
  expect(first["command-line"]![0]!.text).toBe("/share/one version=1 quiet");
  expect(first.loader![0]!.text).toBe("rekernel");
  expect(first.memory!.map(({ fields }) => fields)).toEqual(joined(map));

  const two = await load(vm, "/share/two.gz", ...modules, "--command-line", "version=2");
  expect(two).toMatchObject({ exitCode: 0, result: { kind: "multiboot2" } });
  before = vm.console().length;
  await vm.start([rekernel, "kexec", "exec"]);
  expect(await vm.waitForEnd()).toMatchObject({ kind: "poweroff" });
  const second = told(vm.console(), before);
  expectEntered(second, 0x36d76289);
  // Its header wants the lowest multiple of 2 MiB from 20 MiB on.
  const base = second["load-base"]![0]!.fields.address!;
  expect([base, base % 0x200000]).toEqual([0x1400000, 0]);
  expect(second.entered![0]!.fields.start! - base).toBeLessThan(4096);
  expectModules(second);
  expect(second["command-line"]![0]!.text).toBe("/share/two.gz version=2");
  expect(second.memory!.map(({ fields }) => fields)).toEqual(joined(map));
  expect(second.sections![0]!.fields.count).toBe(7);
  // The emulator's firmware has an RSDP of ACPI 1.0; its bytes add up to 0.
  expect(second.rsdp!.map(({ fields }) => fields)).toEqual([
    expect.objectContaining({ tag: 14, bytes: 20, sum: 0 }),
  ]);
});
