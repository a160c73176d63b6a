/** One small image of every kind and every packing that kexec takes, made with gcc and ld. */
import { spawnSync } from "node:child_process";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { buildMultibootKernel } from "../../vm/multiboot/build.ts";
import { buildUki } from "../formats/build-pe.ts";
import { buildBzImage, buildVmlinux, testBanner } from "../kernel/build-image.ts";
import { buildRelocatableVmlinux } from "../kernel/build-relocatable.ts";

export interface SampleImage {
  name: string;
  bytes: Uint8Array;
  /** It takes modules instead of an initrd. */
  multiboot: boolean;
}

/** By the name of their format; xz and lz4 only where their programs are installed. */
export function sampleImages(): SampleImage[] {
  const vmlinux = physicallyLinked(buildVmlinux());
  const bzImage = bzImageAround(vmlinux);
  const { elf, relocations } = buildRelocatableVmlinux(testBanner);
  const relocatable = new Uint8Array(Buffer.concat([elf, relocations]));
  const uki = buildUki([
    [".osrel", 'PRETTY_NAME="Debian"'],
    [".cmdline", "root=/dev/vda1 quiet\n"],
    [".dtb", "device tree"],
    [".ucode", "070701 ucode!"],
    [".initrd", "070701 initrd"],
    [".linux", bzImage],
    [".profile", "ID=regular"],
    [".profile", "ID=reset\nTITLE=Factory reset"],
    [".cmdline", "factory"],
  ]);
  const linux32 = Buffer.concat([buildMultibootKernel({ version: 1 }), Buffer.from(testBanner)]);
  // Without its header's magic number it is an ELF file only.
  linux32.writeUInt32LE(0, linux32.indexOf(Buffer.from("02b0ad1b", "hex")));
  const plain = (name: string, bytes: Uint8Array) => ({
    name,
    bytes,
    multiboot: name.startsWith("multiboot"),
  });
  const images = [
    plain("bzimage", bzImage),
    plain(
      "bzimage-32",
      bzImageAround(vmlinux, (header) => header.writeUInt16LE(0, 0x236)),
    ),
    plain("bzimage-kaslr", bzImageAround(relocatable)),
    plain("vmlinux", vmlinux),
    plain("vmlinux-relocatable", relocatable),
    plain("uki", uki),
    plain("elf32", linux32),
    plain("multiboot", buildMultibootKernel({ version: 1 })),
    plain("multiboot-flat", buildMultibootKernel({ version: 1, flat: true })),
    plain("multiboot-elf64", buildMultibootKernel({ version: 1, elf64: true })),
    plain("multiboot2", buildMultibootKernel({ version: 2 })),
    plain("multiboot2-relocatable", buildMultibootKernel({ version: 2, relocatable: true })),
  ];
  const packed = ([bzImage, vmlinux, images.at(-1)!.bytes] as const).flatMap((bytes, index) => {
    const of = ["bzimage", "vmlinux", "multiboot2"][index]!;
    return packers.flatMap(([suffix, pack]) => {
      const result = pack(bytes);
      return result === undefined ? [] : [{ name: `${of}.${suffix}`, bytes: result, multiboot: index === 2 }];
    });
  });
  return [...images, ...packed];
}

/** Its initrd may lie anywhere below 2 GiB. */
export function bzImageAround(vmlinux: Uint8Array, change: (header: Buffer) => void = () => {}): Uint8Array {
  return buildBzImage(vmlinux, (header) => {
    header.writeUInt32LE(0x7fffffff, 0x22c);
    change(header);
  });
}

const packers: readonly [string, (bytes: Uint8Array) => Uint8Array | undefined][] = [
  ["gz", gzipSync],
  ["zst", zstdCompressSync],
  ["xz", (input) => packedBy("xz", ["-c"], input)],
  ["lzma", (input) => packedBy("xz", ["-c", "--format=lzma"], input)],
  ["lz4", (input) => packedBy("lz4", ["-l", "-c"], input)],
];

function packedBy(tool: string, args: string[], input: Uint8Array): Uint8Array | undefined {
  const { status, stdout } = spawnSync(tool, args, { input, maxBuffer: 1 << 26 });
  return status === 0 ? stdout : undefined;
}

/** ld leaves physical addresses where the virtual ones are; a kernel's lie 16 MiB from the beginning of memory. */
function physicallyLinked(vmlinux: Uint8Array): Uint8Array {
  const bytes = Buffer.from(vmlinux);
  const table = Number(bytes.readBigUInt64LE(32));
  for (let index = 0; index < bytes.readUInt16LE(56); index++) {
    const at = table + index * 56;
    bytes.writeBigUInt64LE(bytes.readBigUInt64LE(at + 16) - 0xffffffff80000000n, at + 24);
  }
  bytes.writeBigUInt64LE(0x1000000n, 24);
  return bytes;
}
