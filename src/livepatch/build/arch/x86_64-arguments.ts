/** Constants that x86-64 code passes to the functions it calls (System V psABI 3.2.3: rdi, rsi, rdx, rcx, r8, r9). */

export interface ArgumentLoad {
  /** Which argument it is, from 0. */
  argument: number;
  /** Offset of the 4-byte operand. */
  field: number;
  /** Its value as it stands in the code. */
  value: number;
  /** True for `lea symbol(%rip), %reg`, whose operand counts from the end of the instruction. */
  ripRelative: boolean;
}

/** Numbers of the registers, in the order of the arguments. */
const argumentRegisters = [7, 6, 2, 1, 8, 9];

/** Undefined when the instruction at `offset` does not put a constant of 4 bytes into an argument's register. */
export function argumentLoad(code: Uint8Array, offset: number): ArgumentLoad | undefined {
  const prefix = code[offset]!;
  const hasRex = (prefix & 0xf0) === 0x40;
  const [rex, opcodeAt] = hasRex ? [prefix & 0xf, offset + 1] : [0, offset];
  const [wide, highReg, highBase] = [(rex & 8) !== 0, (rex & 4) !== 0, (rex & 1) !== 0];
  const opcode = code[opcodeAt];
  const modrm = code[opcodeAt + 1];
  if (opcode === undefined || modrm === undefined) return undefined;

  const load = (register: number, field: number, ripRelative: boolean): ArgumentLoad | undefined => {
    const argument = argumentRegisters.indexOf(register);
    if (argument < 0 || field + 4 > code.length) return undefined;
    const value = new DataView(code.buffer, code.byteOffset, code.byteLength).getInt32(field, true);
    return { argument, field, value, ripRelative };
  };
  // mov $imm32, %r32
  if ((opcode & 0xf8) === 0xb8 && !wide) return load((opcode & 7) + (highBase ? 8 : 0), opcodeAt + 1, false);
  // mov $imm32, %r64 (sign-extended)
  if (opcode === 0xc7 && (modrm & 0xf8) === 0xc0)
    return load((modrm & 7) + (highBase ? 8 : 0), opcodeAt + 2, false);
  // lea disp32(%rip), %r64
  if (opcode === 0x8d && wide && (modrm & 0xc7) === 0x05)
    return load(((modrm >> 3) & 7) + (highReg ? 8 : 0), opcodeAt + 2, true);
  return undefined;
}
