/**
 * Line numbers in code: `__LINE__` as an argument of a call (might_sleep(), ASSERT_RTNL(), lockdep's warnings). A patch
 * that adds a line moves them in functions that it does not touch.
 */
import type { ArgumentLoad } from "./arch/x86_64-arguments.ts";
import { isPieceTarget, type Piece, pieceBytes, type Reference } from "./object.ts";

/** The set-up of a call is short; what stands further away belongs to something else. */
const maxInstructionsOfSetup = 16;
const maxLine = 100_000;
/** PATH_MAX (include/uapi/linux/limits.h). */
const maxPath = 4096;

/**
 * True when two functions of the same size differ only in line numbers: immediate operands that are passed to a call
 * right behind an argument that is the name of a source file, all of them moved in one direction.
 */
export function onlyLinesDiffer(a: Piece, b: Piece): boolean {
  const [codeA, codeB] = [pieceBytes(a), pieceBytes(b)];
  if (codeA.length !== codeB.length) return false;
  const differing = differingOffsets(codeA, codeB);
  const first = differing[0];
  if (first === undefined) return true;

  const [referencesA, referencesB] = [byOffset(a), byOffset(b)];
  let setup: { a: ArgumentLoad; b: ArgumentLoad }[] = [];
  let files: ArgumentLoad[] = [];
  let instructions = 0;
  let forgiven = 0;
  let direction = 0;
  for (let at = a.entry; at < codeA.length; ) {
    const instruction = a.arch.decode(codeA, at);
    const other = b.arch.decode(codeB, at);
    if (!instruction || other?.length !== instruction.length || other.kind !== instruction.kind) return false;
    const [loadA, loadB] = [a.arch.argumentLoad(codeA, at), b.arch.argumentLoad(codeB, at)];
    if (instruction.kind === "call") {
      for (const load of setup) {
        const isLine = files.some(({ argument }) => argument + 1 === load.a.argument);
        const moved = Math.sign(load.b.value - load.a.value);
        if (!isLine || (direction !== 0 && moved !== direction)) return false;
        direction = moved;
        const { field } = load.a;
        forgiven += differing.filter((offset) => offset >= field && offset < field + 4).length;
      }
      [setup, files, instructions] = [[], [], 0];
    } else if (instruction.kind !== "other") {
      // Arguments that are set before a branch may be meant for several calls.
      if (setup.length > 0) return false;
      files = [];
    } else if (loadA && loadB && loadA.argument === loadB.argument && loadA.field === loadB.field) {
      const file = filePassed(referencesA.get(loadA.field), loadA);
      if (file !== undefined && file === filePassed(referencesB.get(loadB.field), loadB)) files.push(loadA);
      else if (loadA.value !== loadB.value) {
        if (!isPlausible(loadA.value) || !isPlausible(loadB.value)) return false;
        setup.push({ a: loadA, b: loadB });
      }
    }
    instructions = setup.length > 0 ? instructions + 1 : 0;
    if (instructions > maxInstructionsOfSetup) return false;
    at += instruction.length;
  }
  return setup.length === 0 && forgiven === differing.length;
}

function isPlausible(line: number): boolean {
  return line > 0 && line < maxLine;
}

function differingOffsets(a: Uint8Array, b: Uint8Array): number[] {
  const offsets: number[] = [];
  for (let index = 0; index < a.length; index++) if (a[index] !== b[index]) offsets.push(index);
  return offsets;
}

function byOffset(piece: Piece): Map<number, Reference> {
  return new Map(piece.references.map((reference) => [reference.offset, reference]));
}

/** Name of the source file whose address is passed. */
function filePassed(reference: Reference | undefined, load: ArgumentLoad): string | undefined {
  const target = reference?.target;
  if (!target || !isPieceTarget(target) || target.piece.role !== "readOnlyData") return undefined;
  return sourceFileAt(target.piece, target.addend + (load.ripRelative ? 4 : 0));
}

/** The name of a source file that stands at an offset of read-only data. */
export function sourceFileAt(piece: Piece, start: number): string | undefined {
  const bytes = pieceBytes(piece).subarray(Math.max(start, 0));
  const end = bytes.subarray(0, maxPath).indexOf(0);
  const text = Buffer.from(bytes.subarray(0, Math.max(end, 0))).toString("latin1");
  return start >= 0 && isSourceFile(text) ? text : undefined;
}

/** What `__FILE__` can be. */
function isSourceFile(text: string): boolean {
  return /^[\w./+-]+\.(?:c|h|S|inc)$/.test(text);
}
