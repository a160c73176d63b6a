/**
 * The x86 bzImage: real-mode set-up code with its header, then the protected-mode kernel that carries the
 * compressed vmlinux.
 *
 * Source: Documentation/arch/x86/boot.rst ("The Real-Mode Kernel Header"); arch/x86/boot/header.S;
 * arch/x86/include/uapi/asm/bootparam.h (struct setup_header, XLF_*).
 */
import { RekernelError } from "../core/errors.ts";
import { ByteReader, cString } from "./bytes.ts";
import { type Compression, compressionOf, decompress } from "./compression.ts";

/** xloadflags: what this kernel can be done with. */
export interface XloadFlags {
  /** XLF_KERNEL_64: has the 64-bit entry point at 0x200. */
  kernel64: boolean;
  /** XLF_CAN_BE_LOADED_ABOVE_4G: kernel, boot_params, command line and initrd. */
  canBeLoadedAbove4G: boolean;
  efiHandover32: boolean;
  efiHandover64: boolean;
  /** XLF_EFI_KEXEC: accepts the EFI set-up data that kexec passes. */
  efiKexec: boolean;
  fiveLevel: boolean;
  fiveLevelEnabled: boolean;
  memoryEncryption: boolean;
}

/** The set-up header, fields named as in boot.rst. Addresses are physical. */
export interface BzImageHeader {
  /** Boot protocol, as major * 256 + minor: 0x020f is 2.15. */
  protocol: number;
  /** Size of the real-mode code behind the boot sector, in 512-byte sectors. */
  setupSects: number;
  /** Protected-mode code, in 16-byte paragraphs. */
  syssize: number;
  /** The text that file(1) shows: release, builder, version. Empty where there is none. */
  kernelVersion: string;
  loadflags: number;
  code32Start: number;
  /** Highest address an initrd may occupy. */
  initrdAddrMax: number;
  kernelAlignment: number;
  relocatable: boolean;
  /** Power of two; 0 before protocol 2.10. */
  minAlignment: number;
  xloadflags: XloadFlags;
  xloadflagsRaw: number;
  /** Longest command line, without its NUL. */
  cmdlineSize: number;
  hardwareSubarch: number;
  /** Within the protected-mode code. */
  payloadOffset: number;
  payloadLength: number;
  setupData: bigint;
  /** Where the kernel wants to be loaded. */
  prefAddress: bigint;
  /** Contiguous memory the kernel needs at its run-time start, before it reads the memory map. */
  initSize: number;
  /** EFI handover entry, relative to the protected-mode code; 0 where there is none. */
  handoverOffset: number;
  /** kernel_info, relative to the protected-mode code; 0 before protocol 2.15. */
  kernelInfoOffset: number;
}

export interface BzImage {
  header: BzImageHeader;
  /** Bytes 0x1f1 up to the header's end: what a loader copies into boot_params. */
  setupHeader: Uint8Array;
  /** Boot sector and real-mode code. */
  realMode: Uint8Array;
  /** What is loaded at pref_address or elsewhere: all behind the real-mode code. */
  protectedMode: Uint8Array;
  /** The compressed vmlinux, without the size that follows it. */
  payload: Uint8Array;
  compression: Compression;
  /** Size of the unpacked payload (vmlinux and its relocations) as the image tells it. */
  unpackedSize: number;
}

const setupHeaderStart = 0x1f1;
const payloadSinceProtocol = 0x0208;

/** True when the bytes carry a Linux/x86 boot header ("HdrS"). */
export function isBzImage(bytes: Uint8Array): boolean {
  return (
    bytes.length >= 0x206 &&
    bytes[0x1fe] === 0x55 &&
    bytes[0x1ff] === 0xaa &&
    bytes[0x202] === 0x48 &&
    bytes[0x203] === 0x64 &&
    bytes[0x204] === 0x72 &&
    bytes[0x205] === 0x53
  );
}

/**
 * Reads a bzImage. Parts are views of `bytes`.
 *
 * @throws RekernelError RK-BAD-IMAGE (1) for a file that is no bzImage, is truncated or too old (before
 *   protocol 2.08, Linux 2.6.24)
 */
export function readBzImage(bytes: Uint8Array, name = "The kernel image"): BzImage {
  const bad = (reason: string) => badImage(name, reason);
  if (!isBzImage(bytes)) throw bad("it has no Linux boot header");
  const r = new ByteReader(bytes, bad);
  const protocol = r.u16(0x206);
  if (protocol < payloadSinceProtocol)
    throw bad(`its boot protocol ${protocolText(protocol)} is older than 2.08`);
  const at = (since: number, read: () => number) => (protocol >= since ? read() : 0);
  const setupSects = r.u8(0x1f1) || 4;
  const xloadflagsRaw = at(0x020c, () => r.u16(0x236));
  const versionPointer = r.u16(0x20e);
  const header: BzImageHeader = {
    protocol,
    setupSects,
    syssize: r.u32(0x1f4),
    kernelVersion:
      versionPointer === 0 ? "" : cString(bytes.subarray(0, (setupSects + 1) * 512), versionPointer + 0x200),
    loadflags: r.u8(0x211),
    code32Start: r.u32(0x214),
    initrdAddrMax: r.u32(0x22c),
    kernelAlignment: r.u32(0x230),
    relocatable: r.u8(0x234) !== 0,
    minAlignment: at(0x020a, () => r.u8(0x235)),
    xloadflags: {
      kernel64: (xloadflagsRaw & 1) !== 0,
      canBeLoadedAbove4G: (xloadflagsRaw & 2) !== 0,
      efiHandover32: (xloadflagsRaw & 4) !== 0,
      efiHandover64: (xloadflagsRaw & 8) !== 0,
      efiKexec: (xloadflagsRaw & 0x10) !== 0,
      fiveLevel: (xloadflagsRaw & 0x20) !== 0,
      fiveLevelEnabled: (xloadflagsRaw & 0x40) !== 0,
      memoryEncryption: (xloadflagsRaw & 0x80) !== 0,
    },
    xloadflagsRaw,
    cmdlineSize: r.u32(0x238),
    hardwareSubarch: r.u32(0x23c),
    payloadOffset: r.u32(0x248),
    payloadLength: r.u32(0x24c),
    setupData: protocol >= 0x0209 ? r.u64(0x250) : 0n,
    prefAddress: protocol >= 0x020a ? r.u64(0x258) : 0n,
    initSize: at(0x020a, () => r.u32(0x260)),
    handoverOffset: at(0x020b, () => r.u32(0x264)),
    kernelInfoOffset: at(0x020f, () => r.u32(0x268)),
  };
  // The second byte of the jump at 0x200 tells where the header ends.
  const setupHeaderEnd = 0x202 + r.u8(0x201);
  const realMode = r.slice(0, (setupSects + 1) * 512, "the real-mode code");
  const protectedMode = bytes.subarray(realMode.length);
  const { payloadOffset, payloadLength } = header;
  if (payloadLength < 16 || payloadOffset + payloadLength > protectedMode.length)
    throw bad(
      `its compressed kernel lies outside the file (the header says ${realMode.length + payloadOffset + payloadLength} bytes, the file has ${bytes.length})`,
    );
  const packed = protectedMode.subarray(payloadOffset, payloadOffset + payloadLength);
  const compression = compressionOf(packed);
  // scripts/Makefile.lib (size_append): all but gzip, which ends with it anyway, are followed by the size.
  const hasSizeBehind = compression !== "gzip" && compression !== "none";
  const unpackedSize =
    compression === "none"
      ? payloadLength
      : new DataView(packed.buffer, packed.byteOffset).getUint32(payloadLength - 4, true);
  return {
    header,
    setupHeader: r.slice(setupHeaderStart, setupHeaderEnd - setupHeaderStart, "the set-up header"),
    realMode,
    protectedMode,
    payload: hasSizeBehind ? packed.subarray(0, payloadLength - 4) : packed,
    compression,
    unpackedSize,
  };
}

/**
 * Unpacks the payload: an ELF vmlinux, with the relocations that KASLR needs behind it.
 *
 * @throws RekernelError RK-BAD-COMPRESSION, RK-UNSUPPORTED-COMPRESSION, RK-BAD-IMAGE (1)
 */
export function unpackPayload(image: BzImage, name = "the kernel image"): Uint8Array {
  const { compression, payload, unpackedSize, header } = image;
  if (compression === "none" && payload[0] !== 0x7f)
    throw badImage(name, "its kernel is packed in an unknown way");
  return decompress(payload, {
    name: `the kernel in ${name}`,
    sizeBytes: unpackedSize,
    // The kernel unpacks itself inside init_size.
    ...(header.initSize > 0 ? { limitBytes: header.initSize } : {}),
  });
}

/** "2.15" of 0x020f. */
export function protocolText(protocol: number): string {
  return `${protocol >> 8}.${String(protocol & 0xff).padStart(2, "0")}`;
}

export function badImage(name: string, reason: string): RekernelError {
  return new RekernelError("failed", "RK-BAD-IMAGE", `Cannot read ${name}: ${reason}.`, {
    hint: "Give a Linux x86-64 kernel, whole and undamaged: vmlinuz (bzImage), vmlinux (ELF) or a unified kernel image.",
  });
}
