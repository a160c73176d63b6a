/** What the difference, the match, the output and the audit need to know about a processor. */
import { EM_X86_64 } from "../../../formats/elf/constants.ts";
import type { AddressSource, AddressUse, FlowOptions } from "./address-flow.ts";
import type { Instruction } from "./instructions.ts";
import { x86_64 } from "./x86_64.ts";
import type { ArgumentLoad } from "./x86_64-arguments.ts";

/** How a relocation type computes its field. */
export interface RelocationKind {
  name: string;
  sizeBytes: 1 | 4 | 8;
  pcRelative: boolean;
  /** The field is sign-extended when it is read back. */
  signed: boolean;
}

export interface Architecture {
  /** The types that the kernel's module loader applies, or undefined. */
  relocationKind(type: number): RelocationKind | undefined;
  /** The same, and {@link shortBranch}. */
  fieldKind(type: number): RelocationKind | undefined;
  /** One type for those that compute the same, whatever their names. */
  plainType(type: number): number;
  /** Type of a relocation of a direct call or jump with a field of 4 bytes. */
  nearBranch: number;
  /** Type that stands for a jump with a field of 1 byte; there is no such relocation in the kernel. */
  shortBranch: number;
  /** Undefined where the bytes are no instruction. */
  decode(code: Uint8Array, offset: number): Instruction | undefined;
  /** What a direct call or jump does, whatever the size of its field: equal for equal operations. */
  branchOperation(code: Uint8Array, offset: number, instruction: Instruction): number;
  /** Padding between the instructions of a function. */
  isNop(code: Uint8Array, offset: number, instruction: Instruction): boolean;
  /** A plain return; returns through a thunk are jumps. */
  isReturn(code: Uint8Array, offset: number): boolean;
  /** A constant of 4 bytes that the instruction passes to the function that is called next. */
  argumentLoad(code: Uint8Array, offset: number): ArgumentLoad | undefined;
  /** What a function does with an address; undefined where its code cannot be followed. */
  addressUses(code: Uint8Array, source: AddressSource, options: FlowOptions): AddressUse[] | undefined;
  /** An unconditional jump: its bytes, with a field of 4 bytes at `field` that takes a {@link nearBranch} relocation. */
  nearJump: { bytes: Uint8Array; field: number; addend: number };
  /** The tracer's call at a function's entry. */
  tracerCall: {
    symbol: string;
    /** From its first byte to its relocated field. */
    field: number;
    sizeBytes: number;
    /** Furthest offset in a function that ftrace can hook. */
    maxOffset: number;
  };
  /** Length of the jump or NOP that a jump label's site holds; undefined when it is neither. */
  jumpLabelSiteSize(code: Uint8Array, offset: number): number | undefined;
  /** Whether an entry of .altinstructions replaces by nothing: its reference to the replacement means nothing then. */
  isEmptyReplacement(entry: Uint8Array): boolean;
  /** NOPs of the kernel's choice at a jump label's site. */
  isJumpLabelNop(code: Uint8Array): boolean;
  /**
   * Makes the load of a runtime constant (include/asm-generic/runtime-const.h) a load of the variable that it stands
   * for, which is what the kernel's headers do in modules: nobody writes constants into those.
   *
   * @param place where the constant's table entry points to
   * @returns the new instructions, and the field that refers to the variable, or undefined when the code is not that
   */
  loadInsteadOfRuntimeConstant(
    code: Uint8Array,
    place: number,
  ): { start: number; bytes: Uint8Array; field: number; type: number; addend: number } | undefined;
}

const architectures: ReadonlyMap<number, Architecture> = new Map([[EM_X86_64, x86_64]]);

/** @param machine e_machine of an ELF file; undefined for those that rekernel does not know yet */
export function architectureOf(machine: number): Architecture | undefined {
  return architectures.get(machine);
}
