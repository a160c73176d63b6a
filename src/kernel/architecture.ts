/** What a kernel image is built for, by its magic numbers. */
import { latin1 } from "../formats/bytes.ts";
import { badImage, isBzImage } from "../formats/bzimage.ts";
import { EM_386, EM_486, EM_X86_64 } from "../formats/elf/constants.ts";
import { PE_MACHINE_AMD64, peMachine } from "../formats/pe.ts";

/** EM_… of include/uapi/linux/elf-em.h. */
const elfMachineNames: Readonly<Record<number, string>> = {
  3: "i386",
  8: "MIPS",
  21: "PowerPC 64",
  22: "S/390",
  40: "ARM",
  183: "ARM 64",
  243: "RISC-V",
  258: "LoongArch",
};

/** True for any ELF file. */
export function isElf(bytes: Uint8Array): boolean {
  return bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46;
}

/**
 * Refuses what is recognizably for another processor: ELF and PE files by their machine, raw images by their
 * magic number. Says nothing of files that it does not know.
 *
 * @param bits whether ELF files of 32 bits for the same processor will do: kexec can start them
 * @throws RekernelError RK-BAD-IMAGE (1)
 */
export function requireX86(bytes: Uint8Array, name: string, bits: "64" | "32 or 64"): void {
  const other = elfMachine(bytes, bits) ?? rawImage(bytes) ?? peProgram(bytes);
  if (other !== undefined) throw badImage(name, `it is ${other}, and rekernel works with x86-64 kernels`);
}

function elfMachine(bytes: Uint8Array, bits: "64" | "32 or 64"): string | undefined {
  if (!isElf(bytes) || bytes.length < 20) return undefined;
  const machine = bytes[5] === 2 ? (bytes[18]! << 8) | bytes[19]! : bytes[18]! | (bytes[19]! << 8);
  if (machine === EM_X86_64 && bytes[4] === 2) return undefined;
  if (bits !== "64" && (machine === EM_386 || machine === EM_486) && bytes[4] === 1) return undefined;
  return `for ${elfMachineNames[machine] ?? `ELF machine ${machine}`}`;
}

function rawImage(bytes: Uint8Array): string | undefined {
  const text = (at: number, size: number) => latin1(bytes.subarray(at, at + size));
  // Documentation/arch/arm64/booting.rst, Documentation/arch/riscv/boot-image-header.rst
  if (text(56, 4) === "ARM\x64") return "an ARM 64 kernel";
  if (text(56, 4) === "RSC\x05") return "a RISC-V kernel";
  if (text(0x24, 4) === "\x18\x28\x6f\x01") return "an ARM kernel";
  // drivers/firmware/efi/libstub/zboot-header.S
  if (text(0, 8) === "MZ\0\0zimg") {
    const machine = peMachine(bytes)?.name;
    return `a compressed EFI kernel (zboot) ${machine === undefined ? "of another architecture" : `for ${machine}`}`;
  }
  return undefined;
}

function peProgram(bytes: Uint8Array): string | undefined {
  // A bzImage is one by its boot header, whatever its EFI stub says: 64-bit kernels may have a 32-bit one.
  if (isBzImage(bytes)) return undefined;
  const found = peMachine(bytes);
  return found === undefined || found.machine === PE_MACHINE_AMD64 ? undefined : `for ${found.name}`;
}
