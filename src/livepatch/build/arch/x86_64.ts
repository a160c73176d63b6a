/**
 * What the difference and the match need to know about x86-64 code.
 * Nothing outside this file may assume the architecture.
 */
import {
  R_X86_64_32,
  R_X86_64_32S,
  R_X86_64_64,
  R_X86_64_PC32,
  R_X86_64_PC64,
  R_X86_64_PLT32,
} from "../../../formats/elf/constants.ts";

/** How a relocation type computes its field (x86-64 psABI table 4.9). */
export interface RelocationKind {
  name: string;
  sizeBytes: 4 | 8;
  pcRelative: boolean;
  /** The field is sign-extended when it is read back. */
  signed: boolean;
}

const kinds: ReadonlyMap<number, RelocationKind> = new Map([
  [R_X86_64_64, { name: "R_X86_64_64", sizeBytes: 8, pcRelative: false, signed: false }],
  [R_X86_64_PC32, { name: "R_X86_64_PC32", sizeBytes: 4, pcRelative: true, signed: true }],
  [R_X86_64_PLT32, { name: "R_X86_64_PLT32", sizeBytes: 4, pcRelative: true, signed: true }],
  [R_X86_64_32, { name: "R_X86_64_32", sizeBytes: 4, pcRelative: false, signed: false }],
  [R_X86_64_32S, { name: "R_X86_64_32S", sizeBytes: 4, pcRelative: false, signed: true }],
  [R_X86_64_PC64, { name: "R_X86_64_PC64", sizeBytes: 8, pcRelative: true, signed: true }],
]);

/** The types that the kernel's module loader applies (arch/x86/kernel/module.c), or undefined. */
export function relocationKind(type: number): RelocationKind | undefined {
  return kinds.get(type);
}

/** True when the 4-byte field at `offset` is the target of a direct call, jmp or jcc. */
export function isBranchField(code: Uint8Array, offset: number): boolean {
  const opcode = code[offset - 1];
  if (opcode === 0xe8 || opcode === 0xe9) return true;
  return opcode !== undefined && (opcode & 0xf0) === 0x80 && code[offset - 2] === 0x0f;
}

/**
 * Distance from a PC-relative field to the address that the processor counts from:
 * the field itself plus the immediate operand that may follow it.
 */
export function bytesFromFieldToNextInstruction(code: Uint8Array, offset: number): number {
  if (isBranchField(code, offset)) return 4;
  const modrm = code[offset - 1];
  const opcode = code[offset - 2];
  // Only mod 00, r/m 101 addresses relative to the next instruction.
  if (modrm === undefined || opcode === undefined || (modrm & 0xc7) !== 0x05) return 4;
  const extension = (modrm >> 3) & 7;
  if (code[offset - 3] === 0x0f) return opcode === 0xba || opcode === 0xa4 || opcode === 0xac ? 5 : 4;
  switch (opcode) {
    case 0x80:
    case 0x83:
    case 0xc0:
    case 0xc1:
    case 0xc6:
    case 0x6b:
      return 5;
    case 0xf6:
      return extension < 2 ? 5 : 4;
    case 0x81:
    case 0xc7:
    case 0x69:
      return 4 + wideImmediate(code, offset);
    case 0xf7:
      return extension < 2 ? 4 + wideImmediate(code, offset) : 4;
    default:
      return 4;
  }
}

function wideImmediate(code: Uint8Array, offset: number): number {
  const before = code[offset - 3];
  const hasRex = before !== undefined && (before & 0xf0) === 0x40;
  return (hasRex ? code[offset - 4] : before) === 0x66 ? 2 : 4;
}

/** Length of the jump or NOP that a jump label's site holds; undefined when it is neither. */
export function jumpLabelSiteSize(code: Uint8Array, offset: number): 2 | 5 | undefined {
  const first = code[offset];
  if (first === 0xe9 || first === 0x0f) return 5;
  if (first === 0xeb || first === 0x66) return 2;
  return undefined;
}

/** NOPs of the kernel's choice (arch/x86/include/asm/nops.h). */
export function isJumpLabelNop(code: Uint8Array): boolean {
  const hex = Buffer.from(code).toString("hex");
  return hex === "6690" || hex === "0f1f440000";
}

/** The tracer's call that gcc puts at a function's entry with -mfentry. */
export const fentrySymbol = "__fentry__";
/** Opcode byte and field of that call. */
export const fentryCallSize = 5;

/** Furthest offset of the __fentry__ call in a function that ftrace can hook: behind an endbr64. */
export const maxFentryOffset = 4;

/**
 * Makes `mov $constant, %reg` with the placeholder of a runtime constant (arch/x86/include/asm/runtime-const.h) into
 * `mov symbol(%rip), %reg`, which is what the kernel's headers do in modules: nobody writes constants into those.
 *
 * @param immediate offset of the 8-byte operand
 * @returns the 10 bytes of the new instructions and where their PC32 field lies, or undefined when the code is not that
 */
export function loadInsteadOfRuntimeConstant(
  code: Uint8Array,
  immediate: number,
): { start: number; bytes: Uint8Array; field: number; addend: number } | undefined {
  const start = immediate - 2;
  const [rex, opcode] = [code[start], code[start + 1]];
  if (rex === undefined || opcode === undefined || (rex !== 0x48 && rex !== 0x49) || (opcode & 0xf8) !== 0xb8)
    return undefined;
  const placeholder = Buffer.from(code.subarray(immediate, immediate + 8)).toString("hex");
  if (placeholder !== "efcdab8967452301") return undefined;
  const registerIsHigh = rex === 0x49;
  const modrm = ((opcode & 7) << 3) | 5;
  const bytes = Uint8Array.from([registerIsHigh ? 0x4c : 0x48, 0x8b, modrm, 0, 0, 0, 0, 0x0f, 0x1f, 0x00]);
  return { start, bytes, field: start + 3, addend: -4 };
}
