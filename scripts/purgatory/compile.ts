/** Makes the purgatory's bytes from native/purgatory. Same sources and tools give the same bytes. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runToolOk } from "../../src/core/tools.ts";
import { SHF_ALLOC } from "../../src/formats/elf/constants.ts";
import { readElf } from "../../src/formats/elf/read.ts";

/** Where its sources lie. */
export const purgatoryFolder = join(import.meta.dirname, "../../native/purgatory");

/** In the order in which they lie in the image. */
const sources = ["machine.S", "purgatory.c", "reset.c", "speak.c", "sum.c", "sha256.c"];

const flags = [
  ...["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-fno-builtin"],
  // Runs wherever it lies, and nobody relocates it.
  ...["-fpic", "-fvisibility=hidden", "-fno-jump-tables"],
  // The kernel left nothing set up that these would need: vector registers, a thread's stack canary.
  ...["-mgeneral-regs-only", "-mno-red-zone", "-fno-stack-protector", "-fcf-protection=none"],
  // There is no memset to call.
  ...["-fno-tree-loop-distribute-patterns", "-fno-asynchronous-unwind-tables", "-fno-ident"],
];

export interface CompiledPurgatory {
  data: Uint8Array;
  /** What it needs where it lies: its bytes, what starts as zeros, and the stack. */
  memoryBytes: number;
}

/**
 * @throws RekernelError RK-TOOL-MISSING (5), RK-TOOL-FAILED (1) with the compiler's words
 * @throws Error when the code depends on where it lies
 */
export async function compilePurgatory(): Promise<CompiledPurgatory> {
  const folder = await mkdtemp(join(tmpdir(), "rekernel-purgatory-"));
  try {
    const objects = await Promise.all(
      sources.map(async (source) => {
        const object = join(folder, `${source}.o`);
        await runToolOk("gcc-12", [...flags, "-c", "-o", object, source], { cwd: purgatoryFolder });
        return object;
      }),
    );
    const linked = await link(folder, objects, 0n);
    // An address that the linker had to know would differ here.
    const elsewhere = await link(folder, objects, 0x7_6543_2000n);
    if (!Buffer.from(linked.data).equals(elsewhere.data))
      throw new Error("The purgatory holds absolute addresses.");
    return linked;
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function link(folder: string, objects: readonly string[], base: bigint): Promise<CompiledPurgatory> {
  const output = join(folder, "purgatory.elf");
  const script = join(purgatoryFolder, "purgatory.lds");
  await runToolOk("ld", [
    ...["--no-warn-rwx-segments", `--section-start=.image=0x${base.toString(16)}`],
    ...["-T", script, "-o", output, ...objects],
  ]);
  const elf = readElf(await readFile(output), output);
  const stray = elf.sections.find(
    ({ name, flags, size }) => (flags & SHF_ALLOC) !== 0 && size > 0 && name !== ".image" && name !== ".bss",
  );
  if (stray !== undefined) throw new Error(`The purgatory has a section ${stray.name} besides its image.`);
  const data = elf.section(".image")?.data;
  const memoryBytes = elf.symbols.find(({ name }) => name === "memory_bytes")?.value;
  if (data === undefined || memoryBytes === undefined) throw new Error("The linker left out the purgatory.");
  return { data: Uint8Array.from(data), memoryBytes: Number(memoryBytes) };
}
