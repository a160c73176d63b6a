/** x86-64. Nothing outside this folder may assume the architecture. */
import {
  R_X86_64_32,
  R_X86_64_32S,
  R_X86_64_64,
  R_X86_64_PC8,
  R_X86_64_PC32,
  R_X86_64_PC64,
  R_X86_64_PLT32,
} from "../../../formats/elf/constants.ts";
import { addressUses } from "./address-flow.ts";
import type { Architecture, RelocationKind } from "./architecture.ts";
import { decodeInstruction, type Instruction } from "./instructions.ts";
import { isEmptyReplacement } from "./x86_64-alternatives.ts";
import { argumentLoad } from "./x86_64-arguments.ts";

/** The types that the kernel's module loader applies (psABI table 4.9, arch/x86/kernel/module.c). */
const kinds: ReadonlyMap<number, RelocationKind> = new Map([
  [R_X86_64_64, { name: "R_X86_64_64", sizeBytes: 8, pcRelative: false, signed: false }],
  [R_X86_64_PC32, { name: "R_X86_64_PC32", sizeBytes: 4, pcRelative: true, signed: true }],
  [R_X86_64_PLT32, { name: "R_X86_64_PLT32", sizeBytes: 4, pcRelative: true, signed: true }],
  [R_X86_64_32, { name: "R_X86_64_32", sizeBytes: 4, pcRelative: false, signed: false }],
  [R_X86_64_32S, { name: "R_X86_64_32S", sizeBytes: 4, pcRelative: false, signed: true }],
  [R_X86_64_PC64, { name: "R_X86_64_PC64", sizeBytes: 8, pcRelative: true, signed: true }],
]);
const shortKind: RelocationKind = { name: "R_X86_64_PC8", sizeBytes: 1, pcRelative: true, signed: true };

const callOperation = 0x100;
const jumpOperation = 0x101;

export const x86_64: Architecture = {
  relocationKind: (type) => kinds.get(type),
  fieldKind: (type) => (type === R_X86_64_PC8 ? shortKind : kinds.get(type)),
  // Binutils before 2.31 wrote PC32 for calls; the kernel takes both for one (arch/x86/kernel/module.c).
  plainType: (type) => (type === R_X86_64_PLT32 ? R_X86_64_PC32 : type),
  nearBranch: R_X86_64_PLT32,
  shortBranch: R_X86_64_PC8,
  decode: decodeInstruction,
  branchOperation(code, offset, { kind, branchField }) {
    if (kind === "call") return callOperation;
    if (kind === "jump") return jumpOperation;
    const opcode = code[offset + branchField!.offset - 1]!;
    // 70 to 7F and 0F 80 to 0F 8F test the same conditions; loop and jrcxz (E0 to E3) are short only.
    return opcode >= 0xe0 ? opcode : opcode & 0x0f;
  },
  isNop,
  isReturn: (code, offset) => code[code[offset] === 0xf3 ? offset + 1 : offset] === 0xc3,
  argumentLoad,
  addressUses,
  isEmptyReplacement,
  // jmp rel32
  nearJump: { bytes: Uint8Array.of(0xe9, 0, 0, 0, 0), field: 1, addend: -4 },
  // gcc -mfentry: `call __fentry__`, behind an endbr64 at most.
  tracerCall: { symbol: "__fentry__", field: 1, sizeBytes: 5, maxOffset: 4 },
  jumpLabelSiteSize(code, offset) {
    const first = code[offset];
    if (first === 0xe9 || first === 0x0f) return 5;
    if (first === 0xeb || first === 0x66) return 2;
    return undefined;
  },
  // arch/x86/include/asm/nops.h
  isJumpLabelNop(code) {
    const hex = Buffer.from(code).toString("hex");
    return hex === "6690" || hex === "0f1f440000";
  },
  loadInsteadOfRuntimeConstant,
};

function isNop(code: Uint8Array, offset: number, { length }: Instruction): boolean {
  let at = offset;
  while (at < offset + length && (code[at] === 0x66 || code[at] === 0x2e)) at++;
  if (code[at] === 0x90) return at === offset + length - 1;
  return code[at] === 0x0f && code[at + 1] === 0x1f;
}

/** `mov $constant, %reg` with the placeholder of arch/x86/include/asm/runtime-const.h becomes `mov symbol(%rip), %reg`. */
function loadInsteadOfRuntimeConstant(
  code: Uint8Array,
  immediate: number,
): ReturnType<Architecture["loadInsteadOfRuntimeConstant"]> {
  const start = immediate - 2;
  const [rex, opcode] = [code[start], code[start + 1]];
  if (rex === undefined || opcode === undefined || (rex !== 0x48 && rex !== 0x49) || (opcode & 0xf8) !== 0xb8)
    return undefined;
  const placeholder = Buffer.from(code.subarray(immediate, immediate + 8)).toString("hex");
  if (placeholder !== "efcdab8967452301") return undefined;
  const registerIsHigh = rex === 0x49;
  const modrm = ((opcode & 7) << 3) | 5;
  const bytes = Uint8Array.from([registerIsHigh ? 0x4c : 0x48, 0x8b, modrm, 0, 0, 0, 0, 0x0f, 0x1f, 0x00]);
  return { start, bytes, field: start + 3, type: R_X86_64_PC32, addend: -4 };
}
