/**
 * What x86-64 code does with the address of data that it refers to: reads the data there and then, or lets the
 * address out of the function, where others may keep it.
 */
import { decodeInstruction, type Instruction } from "./instructions.ts";

export type AddressUse =
  /** Its bytes are read, or the address is compared. */
  | { kind: "reads" }
  /** Written to memory that is not the function's own stack, `offset` bytes from where a register points. */
  | { kind: "stored"; offset: number }
  /** Written to the function's stack, as a part of something. */
  | { kind: "onStack" }
  /** Handed to a function; `field` is the displacement of the call or tail call, undefined where it goes through a pointer. */
  | { kind: "passed"; argument: number; field: number | undefined }
  | { kind: "returned" };

/** Where the address comes from: a field of an instruction, an argument (from 0), what a call's displacement leads to. */
export type AddressSource = { field: number } | { argument: number } | { call: number };

export interface FlowOptions {
  /** Offset of the first instruction. */
  entry: number;
  /** The name of what the relocated field at this offset refers to, if it is relocated. */
  targetAt(field: number): string | undefined;
}

const [rax, rcx, rdx, rsp, rbp, rsi, rdi, r8, r9, r10, r11] = [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11];
/** In the order of the System V ABI. */
const argumentRegisters = [rdi, rsi, rdx, rcx, r8, r9] as const;
const callerSaved = maskOf(rax, rcx, rdx, rsi, rdi, r8, r9, r10, r11);

/**
 * Follows the address through registers along every path. Registers that were read through or stored count no longer as
 * arguments of the calls that come after, nor as results: compilers leave such addresses behind.
 *
 * @returns undefined where the code cannot be followed
 */
export function addressUses(
  code: Uint8Array,
  source: AddressSource,
  options: FlowOptions,
): AddressUse[] | undefined {
  const instructions = decodeAll(code, options.entry);
  if (!instructions) return undefined;
  return new Flow(code, instructions, options).follow(source);
}

/** Registers that hold the address. */
interface State {
  fresh: number;
  /** The same, after something was read through it. */
  used: number;
}

interface Operands {
  opcode: number;
  /** Behind 0F. */
  isTwoByte: boolean;
  wide: boolean;
  reg: number;
  /** The register operand of the modrm byte, or undefined where that is memory. */
  rm: number | undefined;
  base: number | undefined;
  index: number | undefined;
}

class Flow {
  readonly #code: Uint8Array;
  readonly #instructions: ReadonlyMap<number, Instruction>;
  readonly #options: FlowOptions;
  readonly #uses = new Map<string, AddressUse>();
  readonly #states = new Map<number, State>();
  readonly #queue: number[] = [];
  readonly #framePointer: boolean;

  constructor(code: Uint8Array, instructions: ReadonlyMap<number, Instruction>, options: FlowOptions) {
    this.#code = code;
    this.#instructions = instructions;
    this.#options = options;
    // mov %rsp,%rbp
    this.#framePointer = Buffer.from(code).includes(Buffer.from([0x48, 0x89, 0xe5]));
  }

  follow(source: AddressSource): AddressUse[] | undefined {
    if ("argument" in source) {
      const register = argumentRegisters[source.argument];
      if (register === undefined) return undefined;
      this.#reach(this.#options.entry, { fresh: maskOf(register), used: 0 });
    } else if ("call" in source) this.#afterCall(source.call);
    else if (!this.#begin(source.field)) return undefined;
    for (let at = this.#queue.pop(); at !== undefined; at = this.#queue.pop()) this.#step(at);
    return [...this.#uses.values()];
  }

  #afterCall(field: number): void {
    const at = field - 1;
    const instruction = this.#instructions.get(at);
    if (instruction?.kind === "call") this.#reach(at + instruction.length, { fresh: maskOf(rax), used: 0 });
    // A tail call: the callers of this function get it.
    else this.#add({ kind: "returned" });
  }

  /** The instruction that names the address. */
  #begin(field: number): boolean {
    for (const [at, instruction] of this.#instructions) {
      if (field < at || field >= at + instruction.length) continue;
      const { opcode, isTwoByte, reg, rm, base } = operandsOf(this.#code, at);
      if (instruction.displacement?.offset === field - at && !instruction.isLea) {
        this.#add({ kind: "reads" });
        return true;
      }
      const next = at + instruction.length;
      if (instruction.isLea) this.#reach(next, { fresh: maskOf(reg), used: 0 });
      else if (isTwoByte) return false;
      else if (opcode >= 0xb8 && opcode <= 0xbf) this.#reach(next, { fresh: maskOf(reg), used: 0 });
      else if (opcode === 0xc7 && rm !== undefined) this.#reach(next, { fresh: maskOf(rm), used: 0 });
      else if (opcode === 0xc7) this.#store(base, at, instruction);
      else if (opcode === 0x68) this.#add({ kind: "onStack" });
      else if (opcode === 0x81 && (reg & 7) === 0 && rm !== undefined)
        this.#reach(next, { fresh: maskOf(rm), used: 0 });
      else if (opcode === 0x05) this.#reach(next, { fresh: maskOf(rax), used: 0 });
      // Compared with it, or a distance from it.
      else this.#add({ kind: "reads" });
      return true;
    }
    return false;
  }

  #add(use: AddressUse): void {
    this.#uses.set(JSON.stringify(use), use);
  }

  #reach(at: number, { fresh, used }: State): void {
    if ((fresh | used) === 0 || !this.#instructions.has(at)) return;
    const known = this.#states.get(at);
    const merged = { fresh: fresh | (known?.fresh ?? 0), used: used | (known?.used ?? 0) };
    if (known && merged.fresh === known.fresh && merged.used === known.used) return;
    this.#states.set(at, merged);
    this.#queue.push(at);
  }

  #store(base: number | undefined, at: number, instruction: Instruction): void {
    const onStack = base === rsp || (base === rbp && this.#framePointer);
    this.#add(
      onStack ? { kind: "onStack" } : { kind: "stored", offset: this.#displacement(at, instruction) },
    );
  }

  #displacement(at: number, { displacement }: Instruction): number {
    if (!displacement) return 0;
    const bytes = Buffer.from(this.#code.buffer, this.#code.byteOffset + at + displacement.offset);
    return displacement.size === 1 ? bytes.readInt8() : bytes.readInt32LE();
  }

  #pass(field: number | undefined, { fresh }: State): void {
    for (const [argument, register] of argumentRegisters.entries())
      if (fresh & maskOf(register)) this.#add({ kind: "passed", argument, field });
  }

  #step(at: number): void {
    const instruction = this.#instructions.get(at)!;
    const state = { ...this.#states.get(at)! };
    const next = at + instruction.length;
    const field = instruction.branchField && at + instruction.branchField.offset;
    const target = field === undefined ? undefined : this.#options.targetAt(field);
    if (instruction.kind === "call" && target === "__fentry__") {
      this.#reach(next, state);
      return;
    }
    if (instruction.kind === "call") {
      const isThunk = target?.startsWith("__x86_indirect_thunk") === true;
      this.#pass(isThunk ? undefined : field, state);
      this.#reach(next, { fresh: state.fresh & ~callerSaved, used: state.used & ~callerSaved });
      return;
    }
    if (instruction.branchField && field !== undefined) {
      if (target === "__x86_return_thunk") this.#return(state);
      else if (target?.startsWith("__x86_indirect_thunk")) this.#pass(undefined, state);
      else if (target !== undefined) {
        if (instruction.kind === "jump") this.#pass(field, state);
      } else this.#reach(next + this.#branchDistance(field, instruction.branchField.size), state);
      if (instruction.kind === "conditional-jump") this.#reach(next, state);
      return;
    }
    const operands = operandsOf(this.#code, at);
    const { opcode, isTwoByte, reg } = operands;
    if (!isTwoByte && (opcode === 0xc3 || opcode === 0xcb)) {
      this.#return(state);
      return;
    }
    if (!isTwoByte && opcode === 0xff && (reg & 7) === 4) {
      this.#pass(undefined, state);
      return;
    }
    // ud2
    if (isTwoByte && opcode === 0x0b) return;
    this.#execute(operands, at, instruction, state);
    this.#reach(next, state);
  }

  #return({ fresh }: State): void {
    if (fresh & maskOf(rax)) this.#add({ kind: "returned" });
  }

  #branchDistance(field: number, size: 1 | 4): number {
    const bytes = Buffer.from(this.#code.buffer, this.#code.byteOffset + field);
    return size === 1 ? bytes.readInt8() : bytes.readInt32LE();
  }

  /** Everything but calls, jumps and returns. */
  #execute(operands: Operands, at: number, instruction: Instruction, state: State): void {
    const { opcode, isTwoByte, wide, reg, rm, base, index } = operands;
    const holds = (register: number | undefined) =>
      register !== undefined && ((state.fresh | state.used) & maskOf(register)) !== 0;
    const set = (register: number, value: boolean) => {
      state.used &= ~maskOf(register);
      if (value) state.fresh |= maskOf(register);
      else state.fresh &= ~maskOf(register);
    };
    const spend = (register: number) => {
      state.fresh &= ~maskOf(register);
      state.used |= maskOf(register);
    };
    const readThrough = (register: number | undefined) => {
      if (register === undefined || !holds(register)) return;
      this.#add({ kind: "reads" });
      spend(register);
    };
    const store = (register: number) => {
      this.#store(base, at, instruction);
      spend(register);
    };
    if (instruction.isLea) {
      set(reg, holds(base) || holds(index));
      return;
    }
    if (rm === undefined) {
      readThrough(base);
      readThrough(index);
    }
    if (isTwoByte) {
      if (opcode >= 0x40 && opcode <= 0x4f) {
        if (holds(rm)) set(reg, true);
      } else if (opcode === 0xb1 || opcode === 0xc1) {
        if (holds(reg) && rm === undefined) store(reg);
      } else if (opcode >= 0x90 && opcode <= 0x9f) {
        if (rm !== undefined) set(rm, false);
      } else if (opcode === 0xaf || opcode === 0xb6 || opcode === 0xb7 || opcode === 0xbe || opcode === 0xbf)
        set(reg, false);
      return;
    }
    switch (opcode) {
      case 0x89:
        if (rm !== undefined) set(rm, wide && holds(reg));
        else if (wide && holds(reg)) store(reg);
        return;
      case 0x8b:
        set(reg, wide && holds(rm));
        return;
      case 0x87:
        if (rm === undefined) {
          if (holds(reg)) this.#store(base, at, instruction);
          set(reg, false);
        } else {
          const [first, second] = [holds(reg), holds(rm)];
          set(reg, second);
          set(rm, first);
        }
        return;
      case 0x01:
        if (rm !== undefined) set(rm, holds(rm) || holds(reg));
        return;
      case 0x03:
        set(reg, holds(reg) || holds(rm));
        return;
      case 0x29:
        if (rm !== undefined) set(rm, holds(rm) && !holds(reg));
        return;
      case 0x2b:
        set(reg, holds(reg) && !holds(rm));
        return;
      case 0x31:
        if (rm !== undefined) set(rm, false);
        return;
      case 0x33:
      case 0x63:
      case 0x69:
      case 0x6b:
        set(reg, false);
        return;
      case 0x39:
      case 0x3b:
        if (holds(rm) || holds(reg)) this.#add({ kind: "reads" });
        return;
      case 0xc1:
      case 0xd1:
      case 0xd3:
        if (rm !== undefined) set(rm, false);
        return;
      case 0xa4:
      case 0xa5:
        readThrough(rsi);
        return;
      case 0xaa:
      case 0xab:
        if (holds(rax)) this.#add({ kind: "stored", offset: 0 });
        return;
      case 0xc7:
        if (rm !== undefined) set(rm, false);
        return;
      case 0xff:
        // A call through a pointer.
        if ((reg & 7) === 2) {
          this.#pass(undefined, state);
          state.fresh &= ~callerSaved;
          state.used &= ~callerSaved;
        }
        return;
      default:
        if (opcode >= 0x50 && opcode <= 0x57 && holds(reg)) this.#add({ kind: "onStack" });
        else if ((opcode >= 0x58 && opcode <= 0x5f) || (opcode >= 0xb8 && opcode <= 0xbf)) set(reg, false);
    }
  }
}

function maskOf(...registers: number[]): number {
  return registers.reduce((mask, register) => mask | (1 << register), 0);
}

function decodeAll(code: Uint8Array, entry: number): Map<number, Instruction> | undefined {
  const instructions = new Map<number, Instruction>();
  for (let at = entry; at < code.length; ) {
    const instruction = decodeInstruction(code, at);
    if (!instruction) return undefined;
    instructions.set(at, instruction);
    at += instruction.length;
  }
  return instructions;
}

/** Registers of an instruction that is known to be one. For opcodes that name a register themselves that is `reg`. */
function operandsOf(code: Uint8Array, offset: number): Operands {
  let at = offset;
  let rex = 0;
  for (; ; at++) {
    const byte = code[at]!;
    if ((byte & 0xf0) === 0x40) rex = byte;
    else if (![0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3].includes(byte)) break;
  }
  const isTwoByte = code[at] === 0x0f;
  if (isTwoByte) at++;
  const opcode = code[at]!;
  const modrm = code[at + 1] ?? 0;
  const wide = (rex & 8) !== 0;
  const named = { opcode, isTwoByte, wide, rm: undefined, base: undefined, index: undefined };
  const namesRegister =
    !isTwoByte && ((opcode >= 0x50 && opcode <= 0x5f) || (opcode >= 0xb8 && opcode <= 0xbf));
  if (namesRegister) return { ...named, reg: (opcode & 7) | ((rex & 1) << 3) };
  if (!hasModrm(opcode, isTwoByte)) return { ...named, reg: 0 };
  const reg = ((modrm >> 3) & 7) | ((rex & 4) << 1);
  const low = modrm & 7;
  const mod = modrm >> 6;
  if (mod === 3) return { ...named, reg, rm: low | ((rex & 1) << 3) };
  if (low !== 4) return { ...named, reg, base: mod === 0 && low === 5 ? undefined : low | ((rex & 1) << 3) };
  const sib = code[at + 2] ?? 0;
  const index = ((sib >> 3) & 7) | ((rex & 2) << 2);
  const base = (sib & 7) | ((rex & 1) << 3);
  return {
    ...named,
    reg,
    base: mod === 0 && (sib & 7) === 5 ? undefined : base,
    index: index === rsp ? undefined : index,
  };
}

/** For the opcodes that general-purpose registers are used with; vector instructions pass no addresses on. */
function hasModrm(opcode: number, isTwoByte: boolean): boolean {
  if (isTwoByte)
    return !(opcode < 0x10 || (opcode >= 0x30 && opcode < 0x38) || (opcode >= 0xc8 && opcode < 0xd0));
  if (opcode < 0x40) return (opcode & 7) < 4;
  return (
    opcode === 0x63 ||
    opcode === 0x69 ||
    opcode === 0x6b ||
    (opcode >= 0x80 && opcode <= 0x8f) ||
    (opcode >= 0xc0 && opcode <= 0xc1) ||
    (opcode >= 0xc6 && opcode <= 0xc7) ||
    (opcode >= 0xd0 && opcode <= 0xd3) ||
    (opcode >= 0xd8 && opcode <= 0xdf) ||
    (opcode >= 0xf6 && opcode <= 0xf7) ||
    opcode >= 0xfe
  );
}
