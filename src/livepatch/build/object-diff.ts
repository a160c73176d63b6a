/** The difference of two objects by itself, with no kernel at hand: for people who compare it with other tools. */
import { STB_LOCAL } from "../../formats/elf/constants.ts";
import { callbacksOf } from "./author/callbacks.ts";
import { directivesOf, withoutAccepted, withoutIgnored } from "./author/directives.ts";
import { changeCautions } from "./cautions/change-cautions.ts";
import { type Carried, carryThroughCallers, isHookable, notHookable } from "./difference/carry.ts";
import { type Difference, differenceOf } from "./difference/difference.ts";
import type { Caution, Problem } from "./finding.ts";
import { includedPieces } from "./module/inclusion.ts";
import { isPieceTarget, type Piece, readUnitObject, type UnitObject } from "./object/object.ts";
import { shortBranchProblem } from "./object/short-branches.ts";
import { dataNames } from "./types/data-names.ts";
import { objectTypeFindings } from "./types/object-types.ts";

export interface ObjectDiff {
  verdict: "patchable" | "unchanged" | "refused";
  /** Functions that a live patch replaces, as in the symbol table. */
  changed: string[];
  /** Functions that only the patched object has and that the changed ones need. */
  new: string[];
  /** Functions that only the original object has. */
  removed: string[];
  /** Why: for each changed function, and for each thing that cannot be carried. */
  reasons: { name?: string; code?: string; reason: string; hint?: string; source?: string | undefined }[];
  /** What the author has to judge although the change can be carried. */
  cautions: Caution[];
  /** All that a module would hold. */
  included: {
    name: string;
    section: string;
    sizeBytes: number;
    reason: string;
    tables: Record<string, number>;
  }[];
}

/**
 * @param original an ELF64 x86-64 relocatable object, best compiled with -ffunction-sections -fdata-sections
 * @param patched the same unit, compiled the same way from the patched source
 * @throws RekernelError RK-BAD-ELF, RK-BAD-OBJECT, RK-AUTHOR-MACRO (1)
 */
export function diffObjects(
  original: Uint8Array,
  patched: Uint8Array,
  names: { original: string; patched: string },
): ObjectDiff {
  const before = readUnitObject(original, names.original);
  const after = readUnitObject(patched, names.patched);
  const directives = directivesOf(after);
  const kept = withoutIgnored(differenceOf(before, after, dataNames(original, names.original)), directives);
  const plain = kept.difference;
  // An object that was compiled without the tracer says nothing about what ftrace can hook.
  const carried = isTraced(before)
    ? carryThroughCallers(plain, before, after)
    : { difference: plain, carried: new Set<never>(), outward: [], problems: [] };
  const { difference } = carried;
  const roots = rootsOf(difference, after);
  const bringsSomething = difference.changed.length > 0 || roots.size > 0;
  const included = bringsSomething
    ? includedPieces(difference, after, () => true, roots, carried.carried)
    : [];
  const types = differsAtAll(carried) ? objectTypeFindings(original, patched, names) : noFindings;
  const { problems, cautions } = withoutAccepted(
    [
      ...types.problems,
      ...difference.problems,
      ...carried.problems,
      ...carried.outward.map(({ original: piece }) => calledElsewhere(piece)),
      ...included.flatMap(({ piece }) => (isSplit(piece) ? [] : (shortBranchProblem(piece) ?? []))),
    ],
    directives,
  );
  const isNew = new Set(difference.newFunctions);
  return {
    verdict: problems.length > 0 ? "refused" : bringsSomething ? "patchable" : "unchanged",
    changed: difference.changed.map(({ patched: piece }) => piece.name),
    new: included.filter(({ piece }) => isNew.has(piece)).map(({ piece }) => piece.name),
    removed: difference.removedFunctions.filter((piece) => piece.named).map((piece) => piece.name),
    reasons: [
      ...difference.changed.map(({ patched: piece, reason }) => ({ name: piece.name, reason })),
      ...problems.map(({ code, message, hint, source }) => ({ code, reason: message, hint, source })),
    ],
    cautions: [
      ...kept.cautions,
      ...types.cautions,
      ...cautions,
      ...changeCautions(difference, before, included, [...roots.keys()]),
    ],
    included: included.map(({ piece, reason, tableEntries }) => {
      const tables: Record<string, number> = {};
      for (const { section } of tableEntries) tables[section.name] = (tables[section.name] ?? 0) + 1;
      return {
        name: piece.name,
        section: piece.section.name,
        sizeBytes: piece.end - piece.start - piece.entry,
        reason,
        tables,
      };
    }),
  };
}

/**
 * What a module holds although nothing changed in the unit needs it: new functions that other units may call, and the
 * author's callbacks, those of kpatch-macros.h included (pointers in `.kpatch.callbacks.*`, `.kpatch.hooks.*` before).
 */
function rootsOf(difference: Difference, patched: UnitObject): Map<Piece, string> {
  const roots = new Map<Piece, string>();
  for (const piece of difference.newFunctions)
    if (piece.role === "code" && piece.symbols.some(({ bind }) => bind !== STB_LOCAL))
      roots.set(piece, "new, for other units");
  for (const { kind, function: piece } of callbacksOf(patched)) roots.set(piece, `${kind} callback`);
  for (const { section, references } of patched.pieces)
    if (/^\.kpatch\.(callbacks|hooks)\./.test(section.name))
      for (const { target } of references)
        if (isPieceTarget(target) && target.piece.role === "code") roots.set(target.piece, "callback");
  return roots;
}

/** Functions that have a section of their own when a module is built: these objects are just not compiled that way. */
function isSplit({ section }: Piece): boolean {
  return /^\.text(\.|$)/.test(section.name);
}

const noFindings = { problems: [], cautions: [] };

function differsAtAll({ difference, outward }: Pick<Carried, "difference" | "outward">): boolean {
  return difference.verdict !== "unchanged" || outward.length > 0;
}

function calledElsewhere(piece: Piece): Problem {
  return notHookable(
    piece,
    "other units may call it, which two objects do not tell (rekernel patch build finds them)",
  );
}

function isTraced(object: UnitObject): boolean {
  return object.pieces.some((piece) => piece.role === "code" && isHookable(piece));
}
