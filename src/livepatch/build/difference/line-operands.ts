/**
 * Line numbers in code: `__LINE__` as an argument of a call (might_sleep(), ASSERT_RTNL(), lockdep's warnings). A patch
 * that adds a line moves them in functions that it does not touch.
 */
import type { ArgumentLoad } from "../arch/x86_64-arguments.ts";
import { functionName } from "../object/names.ts";
import { isPieceTarget, type Piece, pieceBytes, type Reference } from "../object/object.ts";

/** The set-up of a call is short; what stands further away belongs to something else. */
const maxInstructionsOfSetup = 16;
const maxLine = 100_000;
/** PATH_MAX (include/uapi/linux/limits.h). */
const maxPath = 4096;

export interface LineMoves {
  /** How far each line number moved; those of one function all move in one direction. */
  moves: readonly number[];
  /** False where one stands behind the name of the function, not of the file: another number may stand there, too. */
  isCertain: boolean;
}

/**
 * How line numbers moved between two functions of the same size that differ in nothing else: immediate operands that
 * are passed to a call right behind the name of a source file, or of the function (`"%s:%d", __func__, __LINE__`).
 * Undefined where the functions differ otherwise.
 */
export function lineMoves(a: Piece, b: Piece): LineMoves | undefined {
  const [codeA, codeB] = [pieceBytes(a), pieceBytes(b)];
  if (codeA.length !== codeB.length) return undefined;
  let differing = 0;
  for (let index = 0; index < codeA.length; index++) if (codeA[index] !== codeB[index]) differing++;
  if (differing === 0) return { moves: [], isCertain: true };

  const [referencesA, referencesB] = [byOffset(a), byOffset(b)];
  let setup: { a: ArgumentLoad; b: ArgumentLoad }[] = [];
  let places: { argument: number; isFile: boolean }[] = [];
  let instructions = 0;
  let forgiven = 0;
  const moves: number[] = [];
  let isCertain = true;
  for (let at = a.entry; at < codeA.length; ) {
    const instruction = a.arch.decode(codeA, at);
    const other = b.arch.decode(codeB, at);
    if (!instruction || other?.length !== instruction.length || other.kind !== instruction.kind)
      return undefined;
    const [loadA, loadB] = [a.arch.argumentLoad(codeA, at), b.arch.argumentLoad(codeB, at)];
    if (instruction.kind === "call") {
      for (const load of setup) {
        const before = places.filter(({ argument }) => argument + 1 === load.a.argument).at(-1);
        if (!before) return undefined;
        isCertain &&= before.isFile;
        moves.push(load.b.value - load.a.value);
        const { field } = load.a;
        for (let index = field; index < field + 4; index++) if (codeA[index] !== codeB[index]) forgiven++;
      }
      [setup, places, instructions] = [[], [], 0];
    } else if (instruction.kind !== "other") {
      // Arguments that are set before a branch may be meant for several calls.
      if (setup.length > 0) return undefined;
      places = [];
    } else if (loadA && loadB && loadA.argument === loadB.argument && loadA.field === loadB.field) {
      const place = placePassed(referencesA.get(loadA.field), loadA, a);
      if (place && place.text === placePassed(referencesB.get(loadB.field), loadB, b)?.text)
        places.push({ argument: loadA.argument, isFile: place.isFile });
      else if (loadA.value !== loadB.value) {
        if (!isPlausible(loadA.value) || !isPlausible(loadB.value)) return undefined;
        setup.push({ a: loadA, b: loadB });
      }
    }
    instructions = setup.length > 0 ? instructions + 1 : 0;
    if (instructions > maxInstructionsOfSetup) return undefined;
    at += instruction.length;
  }
  if (setup.length > 0 || forgiven !== differing) return undefined;
  const [first = 0] = moves;
  return moves.every((move) => Math.sign(move) === Math.sign(first)) ? { moves, isCertain } : undefined;
}

function isPlausible(line: number): boolean {
  return line > 0 && line < maxLine;
}

function byOffset(piece: Piece): Map<number, Reference> {
  return new Map(piece.references.map((reference) => [reference.offset, reference]));
}

/** The name of the source file, or of the function itself, whose address is passed. */
function placePassed(
  reference: Reference | undefined,
  load: ArgumentLoad,
  from: Piece,
): { text: string; isFile: boolean } | undefined {
  const target = reference?.target;
  if (!target || !isPieceTarget(target) || target.piece.role !== "readOnlyData") return undefined;
  const start = target.addend + (load.ripRelative ? 4 : 0);
  const file = sourceFileAt(target.piece, start);
  if (file !== undefined) return { text: file, isFile: true };
  const text = textAt(target.piece, start);
  // clang keeps the name among other strings.
  const isFunction =
    /^__(?:func|FUNCTION|PRETTY_FUNCTION)__/.test(target.piece.name) || text === functionName(from.name);
  return isFunction ? { text, isFile: false } : undefined;
}

/**
 * A text without the lines of places in the source: `__FILE__ ":" __stringify(__LINE__)`, as in the messages of
 * include/linux/fortify-string.h. Undefined where there is none.
 */
export function textWithoutLines(piece: Piece): string | undefined {
  const bytes = pieceBytes(piece);
  if (bytes.length > maxPath || bytes.at(-1) !== 0) return undefined;
  const text = Buffer.from(bytes).toString("latin1");
  const plain = text.replace(/([\w./+-]+\.(?:c|h|S|inc):)\d+/g, "$1#");
  return plain === text ? undefined : plain;
}

/** The name of a source file that stands at an offset of read-only data. */
export function sourceFileAt(piece: Piece, start: number): string | undefined {
  const text = textAt(piece, start);
  return isSourceFile(text) ? text : undefined;
}

function textAt(piece: Piece, start: number): string {
  if (start < 0) return "";
  const bytes = pieceBytes(piece).subarray(start, start + maxPath);
  return Buffer.from(bytes.subarray(0, Math.max(bytes.indexOf(0), 0))).toString("latin1");
}

/** What `__FILE__` can be. */
function isSourceFile(text: string): boolean {
  return /^[\w./+-]+\.(?:c|h|S|inc)$/.test(text);
}
