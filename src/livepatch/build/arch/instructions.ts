/**
 * Decodes the shape of x86-64 instructions in 64-bit mode: their lengths and where their operands' fields lie.
 * After the opcode maps of the Intel SDM (volume 2, appendix A) and the AMD64 manual (volume 3, appendix A).
 *
 * It knows what compilers emit for the kernel and what its inline assembly holds, not every instruction's name.
 * XOP and APX encodings count as undefined.
 */

/** Bytes of an instruction, counted from its first one. */
export interface Field<Size extends number = number> {
  offset: number;
  size: Size;
}

export interface Instruction {
  /** In bytes, 1 to 15. */
  length: number;
  /** What the processor does next; calls and jumps through registers and memory are "other". */
  kind: "call" | "jump" | "conditional-jump" | "other";
  /** The displacement of a direct call or jump, counted from the end of the instruction. */
  branchField: Field<1 | 4> | undefined;
  /** The displacement of the memory operand. */
  displacement: Field<1 | 4 | 8> | undefined;
  /** The same where it counts from the end of the instruction: `symbol(%rip)`. */
  ripField: Field<4> | undefined;
  /** The last immediate operand. */
  immediate: Field<1 | 2 | 4 | 8> | undefined;
  /** True when the memory operand's address is taken rather than what lies there. */
  isLea: boolean;
}

/** Longest instruction that processors accept. */
export const maxInstructionLength = 15;

// What follows an opcode. The low bits are independent flags, so that one number describes one opcode.
const none = 0;
const modrm = 1;
const imm8 = 2;
const imm16 = 4;
/** 2 bytes with an operand-size prefix, else 4. */
const immZ = 8;
/** The same, 8 bytes with REX.W. */
const immV = 16;
const rel8 = 32;
const rel32 = 64;
/** An absolute address of 8 bytes, 4 with an address-size prefix. */
const moffs = 128;
/** Registers only: the mod bits mean nothing. */
const registersOnly = 256;
const undefinedOpcode = 512;

function opcodeMap(rows: readonly (readonly [first: number, last: number, operands: number])[]): Uint16Array {
  const map = new Uint16Array(256).fill(undefinedOpcode);
  for (const [first, last, operands] of rows) map.fill(operands, first, last + 1);
  return map;
}

const arithmetic = Array.from({ length: 8 }, (_, row) => [
  [row * 8, row * 8 + 3, modrm] as const,
  [row * 8 + 4, row * 8 + 4, imm8] as const,
  [row * 8 + 5, row * 8 + 5, immZ] as const,
]).flat();

/** Prefixes, 0F, VEX and EVEX are dealt with before this is asked. */
const oneByteMap = opcodeMap([
  ...arithmetic,
  [0x50, 0x5f, none],
  [0x63, 0x63, modrm],
  [0x68, 0x68, immZ],
  [0x69, 0x69, modrm | immZ],
  [0x6a, 0x6a, imm8],
  [0x6b, 0x6b, modrm | imm8],
  [0x6c, 0x6f, none],
  [0x70, 0x7f, rel8],
  [0x80, 0x80, modrm | imm8],
  [0x81, 0x81, modrm | immZ],
  [0x83, 0x83, modrm | imm8],
  [0x84, 0x8f, modrm],
  [0x90, 0x99, none],
  [0x9b, 0x9f, none],
  [0xa0, 0xa3, moffs],
  [0xa4, 0xa7, none],
  [0xa8, 0xa8, imm8],
  [0xa9, 0xa9, immZ],
  [0xaa, 0xaf, none],
  [0xb0, 0xb7, imm8],
  [0xb8, 0xbf, immV],
  [0xc0, 0xc1, modrm | imm8],
  [0xc2, 0xc2, imm16],
  [0xc3, 0xc3, none],
  [0xc6, 0xc6, modrm | imm8],
  [0xc7, 0xc7, modrm | immZ],
  [0xc8, 0xc8, imm16 | imm8],
  [0xc9, 0xc9, none],
  [0xca, 0xca, imm16],
  [0xcb, 0xcc, none],
  [0xcd, 0xcd, imm8],
  [0xcf, 0xcf, none],
  [0xd0, 0xd3, modrm],
  [0xd7, 0xd7, none],
  [0xd8, 0xdf, modrm],
  [0xe0, 0xe3, rel8],
  [0xe4, 0xe7, imm8],
  [0xe8, 0xe9, rel32],
  [0xeb, 0xeb, rel8],
  [0xec, 0xef, none],
  [0xf1, 0xf1, none],
  [0xf4, 0xf5, none],
  [0xf6, 0xf7, modrm],
  [0xf8, 0xfd, none],
  [0xfe, 0xff, modrm],
]);

/** Opcodes behind 0F. */
const twoByteMap = opcodeMap([
  [0x00, 0x03, modrm],
  [0x05, 0x09, none],
  [0x0b, 0x0b, none],
  [0x0d, 0x0d, modrm],
  [0x0e, 0x0e, none],
  [0x0f, 0x0f, modrm | imm8],
  [0x10, 0x1f, modrm],
  [0x20, 0x23, modrm | registersOnly],
  [0x28, 0x2f, modrm],
  [0x30, 0x35, none],
  [0x37, 0x37, none],
  [0x40, 0x6f, modrm],
  [0x70, 0x73, modrm | imm8],
  [0x74, 0x76, modrm],
  [0x77, 0x77, none],
  [0x78, 0x79, modrm],
  [0x7c, 0x7f, modrm],
  [0x80, 0x8f, rel32],
  [0x90, 0x9f, modrm],
  [0xa0, 0xa2, none],
  [0xa3, 0xa3, modrm],
  [0xa4, 0xa4, modrm | imm8],
  [0xa5, 0xa7, modrm],
  [0xa8, 0xaa, none],
  [0xab, 0xab, modrm],
  [0xac, 0xac, modrm | imm8],
  [0xad, 0xb9, modrm],
  [0xba, 0xba, modrm | imm8],
  [0xbb, 0xc1, modrm],
  [0xc2, 0xc2, modrm | imm8],
  [0xc3, 0xc3, modrm],
  [0xc4, 0xc6, modrm | imm8],
  [0xc7, 0xc7, modrm],
  [0xc8, 0xcf, none],
  [0xd0, 0xff, modrm],
]);

/** Of the 0F map, what VEX and EVEX take over. */
const vectorMap = opcodeMap([
  [0x10, 0x6f, modrm],
  [0x70, 0x73, modrm | imm8],
  [0x74, 0x76, modrm],
  [0x77, 0x77, none],
  [0x78, 0xc1, modrm],
  [0xc2, 0xc2, modrm | imm8],
  [0xc3, 0xc3, modrm],
  [0xc4, 0xc6, modrm | imm8],
  [0xc7, 0xff, modrm],
]);

const lea = 0x8d;
const prefixes = new Uint8Array(256);
for (const prefix of [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3]) prefixes[prefix] = 1;

/**
 * @returns undefined where the bytes are no instruction, or one that `code` does not hold to its end
 */
export function decodeInstruction(code: Uint8Array, offset: number): Instruction | undefined {
  let at = offset;
  let operandSize = false;
  let addressSize = false;
  let repeat = false;
  let rexW = false;
  let opcode = code[at++];
  for (; opcode !== undefined; opcode = code[at++]) {
    if (prefixes[opcode] === 1) {
      if (opcode === 0x66) operandSize = true;
      else if (opcode === 0x67) addressSize = true;
      else if (opcode === 0xf2) repeat = true;
      // A REX prefix counts only where it stands last.
      rexW = false;
    } else if ((opcode & 0xf0) === 0x40) rexW = (opcode & 8) !== 0;
    else break;
    if (at - offset >= maxInstructionLength) return undefined;
  }
  if (opcode === undefined) return undefined;

  let operands: number;
  let isOneByte = false;
  if (opcode === 0x0f) {
    opcode = code[at++];
    if (opcode === 0x38 || opcode === 0x3a) {
      operands = opcode === 0x3a ? modrm | imm8 : modrm;
      at++;
    } else {
      operands = opcode === undefined ? undefinedOpcode : twoByteMap[opcode]!;
      // SSE4a's extrq and insertq with two immediate bytes.
      if (opcode === 0x78 && (operandSize || repeat)) operands = modrm | imm16;
    }
  } else if (opcode === 0xc5 || opcode === 0xc4 || opcode === 0x62) {
    const first = code[at] ?? 0;
    const second = code[at + 1] ?? 0;
    let map = 1;
    if (opcode === 0xc4) map = first & 0x1f;
    else if (opcode === 0x62) map = (first & 0x08) !== 0 || (second & 0x04) === 0 ? 0 : first & 7;
    at += opcode === 0xc5 ? 1 : opcode === 0xc4 ? 2 : 3;
    const isEvex = opcode === 0x62;
    opcode = code[at++];
    if (opcode === undefined) return undefined;
    if (map === 1) operands = vectorMap[opcode]!;
    else if (map === 2 || (isEvex && (map === 5 || map === 6))) operands = modrm;
    else if (map === 3) operands = modrm | imm8;
    else return undefined;
  } else {
    operands = oneByteMap[opcode]!;
    isOneByte = true;
  }
  if (operands & undefinedOpcode || opcode === undefined) return undefined;

  let displacementOffset = 0;
  let displacementSize: 0 | 1 | 4 | 8 = 0;
  let isRip = false;
  let isXbegin = false;
  let isLea = false;
  if (operands & modrm) {
    const byte = code[at++];
    if (byte === undefined) return undefined;
    const mod = byte >> 6;
    if (mod !== 3 && !(operands & registersOnly)) {
      let base = byte & 7;
      if (base === 4) {
        const sib = code[at++];
        if (sib === undefined) return undefined;
        base = mod === 0 && (sib & 7) === 5 ? -1 : 4;
      } else if (mod === 0 && base === 5) {
        isRip = true;
        base = -1;
      }
      displacementSize = mod === 1 ? 1 : mod === 2 || base === -1 ? 4 : 0;
      displacementOffset = at - offset;
      at += displacementSize;
      isLea = isOneByte && opcode === lea;
    }
    if (isOneByte) {
      const extension = (byte >> 3) & 7;
      // Of group 3 only TEST has an immediate operand.
      if (opcode === 0xf6 && extension < 2) operands |= imm8;
      else if (opcode === 0xf7 && extension < 2) operands |= immZ;
      else if (opcode === 0x8f && extension !== 0) return undefined;
      else if (opcode === 0xc7 && byte === 0xf8) isXbegin = true;
    }
  }
  if (operands & moffs) {
    displacementOffset = at - offset;
    displacementSize = addressSize ? 4 : 8;
    at += displacementSize;
  }

  let immediateSize: 0 | 1 | 2 | 4 | 8 = 0;
  let branchSize: 0 | 1 | 4 = 0;
  if (operands & imm16) {
    immediateSize = 2;
    at += 2;
  }
  if (operands & imm8) {
    immediateSize = 1;
    at += 1;
  } else if (operands & (immZ | immV)) {
    immediateSize = operands & immV && rexW ? 8 : operandSize && !rexW ? 2 : 4;
    at += immediateSize;
  } else if (operands & (rel8 | rel32)) {
    branchSize = operands & rel8 ? 1 : 4;
    at += branchSize;
  }
  if (isXbegin && immediateSize === 4) {
    branchSize = 4;
    immediateSize = 0;
  }
  const length = at - offset;
  if (length > maxInstructionLength || at > code.length) return undefined;
  const displacement =
    displacementSize === 0 ? undefined : { offset: displacementOffset, size: displacementSize };
  return {
    length,
    kind: branchSize === 0 ? "other" : branchKind(opcode, isOneByte),
    branchField: branchSize === 0 ? undefined : { offset: length - branchSize, size: branchSize },
    displacement,
    ripField: isRip ? (displacement as Field<4>) : undefined,
    immediate: immediateSize === 0 ? undefined : { offset: length - immediateSize, size: immediateSize },
    isLea,
  };
}

function branchKind(opcode: number, isOneByte: boolean): Exclude<Instruction["kind"], "other"> {
  if (isOneByte && opcode === 0xe8) return "call";
  return isOneByte && (opcode === 0xe9 || opcode === 0xeb) ? "jump" : "conditional-jump";
}
