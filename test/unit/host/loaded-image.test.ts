import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readElf } from "../../../src/formats/elf/read.ts";
import { type LoadedImage, readLoadedImage } from "../../../src/host/loaded-image.ts";
import { checkLoadedImage, expectedImage } from "../../../src/kexec/purgatory/loaded.ts";
import { compileUnit } from "../livepatch/types/compile-with-debug-info.ts";
import { fixtureHost } from "./fixture-host.ts";

/** The kernel's own order of members, and some that lie between (include/linux/kexec.h of 6.12). */
const types = `
struct kexec_segment { union { void *buf; void *kbuf; }; unsigned long bufsz, mem, memsz; };
struct kimage { unsigned long head, *entry, *last_entry, start; void *control_code_page, *swap_page;
  unsigned long nr_segments; struct kexec_segment segment[16]; unsigned int type : 1; } *kexec_image;
`;
const btf = readElf(compileUnit(types, ["-gbtf"])).section(".BTF")!.data;

const pageBytes = 4096;
const ramBytes = 1 << 20;
/** Two ranges of RAM, the second one far up, as the kernel's direct mapping has them. */
const ram = [0x10000n, 0x1_4000_0000n] as const;
const directMapping = 0xffff_8880_0000_0000n;
const kernelText = 0xffff_ffff_8100_0000n;

interface TestSegment {
  address: bigint;
  data: Uint8Array;
  memoryBytes: number;
}

/** A machine's memory, in which an image is loaded as kernel/kexec_core.c does it. */
class Memory {
  readonly #ram = ram.map(() => Buffer.alloc(ramBytes));
  readonly #free = fc.sample(
    fc.shuffledSubarray(
      ram.flatMap((start) =>
        Array.from({ length: ramBytes / pageBytes }, (_, i) => start + BigInt(i * pageBytes)),
      ),
      { minLength: (ram.length * ramBytes) / pageBytes },
    ),
    { numRuns: 1, seed: 7 },
  )[0]!;
  readonly text = Buffer.alloc(pageBytes);
  #next: bigint | undefined;

  page(address: bigint): Buffer {
    const index = ram.findIndex((start) => address >= start && address < start + BigInt(ramBytes));
    const offset = Number(address - ram[index]!);
    return this.#ram[index]!.subarray(offset, offset + pageBytes);
  }

  allocate(wanted?: bigint): bigint {
    const at = wanted === undefined ? -1 : this.#free.indexOf(wanted);
    return at < 0 ? this.#free.pop()! : this.#free.splice(at, 1)[0]!;
  }

  /** Every `inPlace`th page is had at its destination. */
  load(segments: readonly TestSegment[], entry: bigint, inPlace = 5): void {
    const image = this.allocate();
    const kimage = this.page(image);
    this.text.writeBigUint64LE(directMapping + image, 128);
    kimage.writeBigUint64LE(entry, 24);
    kimage.writeBigUint64LE(BigInt(segments.length), 48);
    let list: Buffer = kimage;
    let at = 0;
    const add = (value: bigint) => {
      if (list === kimage || at === pageBytes - 8) {
        const page = this.allocate();
        list.writeBigUint64LE(page | 2n, list === kimage ? 0 : at);
        list = this.page(page);
        at = 0;
      }
      list.writeBigUint64LE(value, at);
      at += 8;
    };
    let count = 0;
    for (const [index, { address, data, memoryBytes }] of segments.entries()) {
      const struct = 56 + index * 32;
      kimage.writeBigUint64LE(BigInt(data.length), struct + 8);
      kimage.writeBigUint64LE(address, struct + 16);
      kimage.writeBigUint64LE(BigInt(memoryBytes), struct + 24);
      add(address | 1n);
      for (let offset = 0; offset < memoryBytes; offset += pageBytes) {
        const page = this.allocate(++count % inPlace === 0 ? address + BigInt(offset) : undefined);
        this.page(page).set(data.subarray(offset, offset + pageBytes));
        add(page | 8n);
        this.#next = page;
      }
    }
    list.writeBigUint64LE(4n, at);
  }

  /** The page that was written last. */
  get lastPage(): Buffer {
    return this.page(this.#next!);
  }

  /** As fs/proc/kcore.c makes it: text, something without physical addresses, and RAM. */
  kcore(): Buffer {
    const parts = [
      { virtual: kernelText, physical: 0x1000000n, data: this.text },
      { virtual: 0xffff_c900_0000_0000n, physical: (1n << 64n) - 1n, data: Buffer.alloc(pageBytes) },
      ...ram.map((physical, index) => ({
        virtual: directMapping + physical,
        physical,
        data: this.#ram[index]!,
      })),
    ];
    const headers = Buffer.alloc(64 + parts.length * 56);
    headers.write("\x7fELF\x02\x01\x01", "latin1");
    headers.writeUint16LE(4, 16);
    headers.writeBigUint64LE(64n, 32);
    headers.writeUint16LE(56, 54);
    headers.writeUint16LE(parts.length, 56);
    let offset = headers.length;
    for (const [index, { virtual, physical, data }] of parts.entries()) {
      const at = 64 + index * 56;
      headers.writeUint32LE(1, at);
      headers.writeBigUint64LE(BigInt(offset), at + 8);
      headers.writeBigUint64LE(virtual, at + 16);
      headers.writeBigUint64LE(physical, at + 24);
      headers.writeBigUint64LE(BigInt(data.length), at + 32);
      headers.writeBigUint64LE(BigInt(data.length), at + 40);
      offset += data.length;
    }
    return Buffer.concat([headers, ...parts.map(({ data }) => data)]);
  }
}

const kallsyms = `${kernelText.toString(16)} T _text
ffffffff81000070 b kexec_image_of_another
ffffffffc0000000 b kexec_image\t[module]
${(kernelText + 128n).toString(16)} B kexec_image
`;

function host(memory: Memory, changes: Record<string, string | Uint8Array> = {}) {
  return fixtureHost({
    "/proc/kcore": memory.kcore(),
    "/proc/kallsyms": kallsyms,
    "/sys/kernel/btf/vmlinux": btf,
    ...changes,
  });
}

const segments: readonly TestSegment[] = [
  { address: 0x20000n, data: Buffer.from("boot_params"), memoryBytes: pageBytes },
  // More pages than one page of the list has entries.
  { address: 0x1_4000_3000n, data: Buffer.alloc(513 * 600, "kernel "), memoryBytes: 130 * pageBytes },
  { address: 0x60000n, data: Buffer.alloc(2 * pageBytes, "initrd"), memoryBytes: 2 * pageBytes },
];
const layout = {
  entry: 0x20010n,
  segments: segments.map((segment, index) => ({
    ...segment,
    name: ["boot_params", "kernel", "initrd"][index]!,
  })),
};

describe("the loaded image", () => {
  test("is read from the running kernel's memory", async () => {
    const memory = new Memory();
    expect(await readLoadedImage(host(memory))).toEqual({ state: "none" });
    memory.load(segments, 0x20010n);
    expect(await readLoadedImage(host(memory))).toEqual({
      state: "read",
      entry: 0x20010n,
      segments: segments.map(({ address, data, memoryBytes }) => ({
        address,
        dataBytes: data.length,
        memoryBytes,
        sha256: createHash("sha256").update(data).digest("hex"),
      })),
    });
  });

  test("is compared with what was loaded", async () => {
    const memory = new Memory();
    memory.load(segments, 0x20010n);
    const machine = host(memory);
    const expected = JSON.parse(JSON.stringify(expectedImage(layout)));
    expect(await checkLoadedImage(expected, machine)).toEqual({ state: "intact" });
    expect(
      await checkLoadedImage(
        {
          entry: "0x1000",
          segments: [
            { ...expected.segments[0], sha256: "0".repeat(64) },
            { ...expected.segments[1], dataBytes: 4711 },
            { ...expected.segments[2], address: "0x70000" },
          ],
        },
        machine,
      ),
    ).toEqual({
      state: "differs",
      sameLayout: false,
      differences: [
        "The jump goes to 0x20010 instead of 0x1000.",
        "The kernel at 0x140003000 has another size.",
        "The initrd at 0x70000 is not there.",
        "Something else is loaded at 0x60000.",
        "The boot_params at 0x20000 is not what was loaded: its SHA-256 differs.",
      ],
    });
    memory.lastPage[pageBytes - 1]! ^= 1;
    expect(await checkLoadedImage(expected, host(memory))).toEqual({
      state: "differs",
      sameLayout: true,
      differences: ["The initrd at 0x60000 is not what was loaded: its SHA-256 differs."],
    });
    expect(await checkLoadedImage(expected, host(new Memory()))).toEqual({
      state: "differs",
      sameLayout: false,
      differences: ["No kernel is loaded any more."],
    });
  });

  test("cannot be read where the kernel keeps it to itself", async () => {
    const memory = new Memory();
    memory.load(segments, 0x20010n);
    const reason = async (machine: ReturnType<typeof host>) => {
      const image = await readLoadedImage(machine);
      return image.state === "unreadable" ? image.reason : image.state;
    };
    expect(await reason(fixtureHost({}))).toMatch(/kexec_image/);
    expect(await reason(host(memory, { "/proc/kallsyms": "0000000000000000 B kexec_image\n" }))).toMatch(
      /does not tell/,
    );
    expect(await reason(host(memory, { "/sys/kernel/btf/vmlinux": "damaged" }))).toMatch(/damaged/);
    expect(await reason(fixtureHost({ "/proc/kallsyms": kallsyms }))).toMatch(/DEBUG_INFO_BTF/);
    expect(await reason(fixtureHost({ "/proc/kallsyms": kallsyms, "/sys/kernel/btf/vmlinux": btf }))).toMatch(
      /has no \/proc\/kcore/,
    );
    expect(await reason(host(memory, { "/proc/kcore": memory.kcore().subarray(0, 100) }))).toMatch(
      /ends too early/,
    );
    expect(await reason(host(memory, { "/proc/kcore": memory.kcore().subarray(0, -500_000) }))).toMatch(
      /ends too early/,
    );
    expect(await reason(host(memory, { "/proc/kcore": "text ".repeat(100) }))).toMatch(/no ELF/);
  });

  test("stands any damage to memory, in bounded time", async () => {
    const memory = new Memory();
    memory.load(segments, 0x20010n);
    const machine = host(memory);
    const good = memory.kcore();
    // Words anywhere, and words that point to pages of the list or of the image.
    const words = fc.oneof(
      fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
      fc
        .record({ page: fc.constantFrom(...listed(good)), flag: fc.integer({ min: 0, max: 15 }) })
        .map(({ page, flag }) => (page & ~0xfffn) | BigInt(flag)),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.oneof(fc.nat(good.length / 8 - 1), fc.constantFrom(...placesOf(good))), words), {
          minLength: 1,
          maxLength: 5,
        }),
        async (changes) => {
          const bytes = Buffer.from(good);
          for (const [at, word] of changes) bytes.writeBigUint64LE(word, at * 8);
          writeFileSync(`${machine.proc}/kcore`, bytes);
          const image: LoadedImage = await readLoadedImage(machine);
          expect(["none", "read", "unreadable"]).toContain(image.state);
        },
      ),
      { numRuns: 150 },
    );
  });
});

/** Positions, in words, of what looks like entries of the list. */
function placesOf(kcore: Buffer): number[] {
  const places: number[] = [];
  for (let at = 0; at < kcore.length / 8; at++) {
    const word = kcore.readBigUint64LE(at * 8);
    if (word > 0x10000n && word < 0x1_4010_0000n && [1n, 2n, 8n].includes(word & 0xfffn)) places.push(at);
  }
  return places;
}

function listed(kcore: Buffer): bigint[] {
  return placesOf(kcore).map((at) => kcore.readBigUint64LE(at * 8));
}
