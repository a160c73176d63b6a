/** One jump in a machine of its own, through the real purgatory, between two stand-ins for kernels. */
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { onTestFinished } from "vitest";
import { runTool, runToolOk } from "../../../src/core/tools.ts";
import { buildPurgatory, purgatoryMemoryBytes } from "../../../src/kexec/purgatory/purgatory.ts";
import type { DigestKind, Handover } from "../../../src/kexec/purgatory/request.ts";
import type { Segment } from "../../../src/kexec/segments/segment.ts";

/** Where the kernel that is jumped to lies, and a region besides. */
export const nextKernel = 0x2000000;
const besides = 0x3000000n;

/** What lies in that region. */
export const initrd: Uint8Array = Buffer.from("initrd ".repeat(1000).slice(0, 6997));

export interface Jump {
  handover: Handover;
  digest?: DigestKind;
  serialPort?: number | undefined;
  /** Where the purgatory goes. */
  target?: bigint | undefined;
  fiveLevels?: boolean | undefined;
  /** What the initrd is said to be; what it really is by default. */
  expected?: Uint8Array;
  memoryMiB?: number | undefined;
  /** QEMU's name of the machine. */
  machine?: string | undefined;
}

const registers = "rax rbx rcx rdx rsi rdi rbp cs ds es ss flags cr0 cr4 efer".split(" ");

/** What the stand-in for the next kernel found, and how the machine ended. */
export async function jump(options: Jump) {
  const folder = await build(options);
  const [serial, console] = [join(folder, "serial"), join(folder, "found")];
  const { exitCode } = await runTool("qemu-system-x86_64", [
    ...machine(folder, options),
    ...["-no-reboot", "-serial", `file:${serial}`, "-debugcon", `file:${console}`],
    ...["-device", "isa-debug-exit,iobase=0xf4,iosize=4"],
  ]);
  const found = await readFile(console);
  return {
    exitCode,
    serial: await readFile(serial, "latin1"),
    found: Object.fromEntries(
      registers.flatMap((name, index) =>
        index * 8 + 8 <= found.length ? [[name, Number(found.readBigUInt64LE(index * 8))]] : [],
      ),
    ),
  };
}

/** What stands at the top of the screen when the machine would be reset. */
export async function screenAtReset(options: Jump): Promise<string[]> {
  const folder = await build(options);
  const emulator = spawn("qemu-system-x86_64", [
    ...machine(folder, options),
    ...["-vga", "std", "-action", "reboot=shutdown,shutdown=pause", "-qmp", "stdio"],
  ]);
  const ended = new Promise((resolve) => emulator.on("close", resolve));
  const send = (execute: string, given = {}) =>
    emulator.stdin.write(JSON.stringify({ execute, arguments: given }));
  let cells: string | undefined;
  for await (const line of createInterface({ input: emulator.stdout })) {
    const message = JSON.parse(line);
    if (message.QMP !== undefined) send("qmp_capabilities");
    if (message.event === "SHUTDOWN" && cells === undefined)
      send("human-monitor-command", { "command-line": "xp /480xh 0xb8000" });
    if (typeof message.return !== "string") continue;
    cells = message.return as string;
    send("quit");
  }
  await ended;
  const text = [...cells!.matchAll(/ 0x4f([0-9a-f]{2})/g)].map(([, code]) => Number.parseInt(code!, 16));
  const characters = String.fromCharCode(...text);
  return (characters.match(/.{80}/g) ?? []).map((line) => line.trimEnd()).filter((line) => line !== "");
}

function machine(folder: string, options: Jump): string[] {
  return [
    ...["-nodefaults", "-no-user-config", "-display", "none", "-machine", options.machine ?? "pc"],
    ...["-m", `${options.memoryMiB ?? 128}M`, "-cpu", "max,la57=on", "-accel", "tcg,thread=single"],
    ...["-kernel", join(folder, "all.elf")],
  ];
}

/** A folder that goes with the test, with all.elf: everything as it lies in memory when QEMU starts it. */
async function build({ target = 0x5000000n, ...options }: Jump): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "rekernel-purgatory-test-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const bits = options.handover.kind === "linux-64" ? 64 : 32;
  const compile = (name: string, ...flags: string[]) =>
    runToolOk("gcc-12", [...flags, "-c", "-o", `${name}.o`, join(import.meta.dirname, `${name}.S`)], {
      cwd: folder,
    });
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
  const { data } = buildPurgatory({
    handover: options.handover,
    digest: options.digest ?? "sha256",
    segments: [
      segment("kernel", BigInt(nextKernel), await readFile(join(folder, "next.bin"))),
      segment("initrd", besides, options.expected ?? initrd),
    ],
    serialPort: "serialPort" in options ? options.serialPort : 0x3f8,
  });
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
  return folder;
}
