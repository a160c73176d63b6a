/** Changes of data that the running kernel holds already: which a live patch carries, and which it cannot. */

import type { Caution, Problem } from "../finding.ts";
import { isBookkeeping, isFunctionNameConstant, nameWithoutNumbers } from "../object/names.ts";
import { isPieceTarget, type Piece, pieceBytes, type UnitObject } from "../object/object.ts";
import { isInitData } from "../object/sections.ts";
import { type Correlation, isContentOnly } from "./correlate.ts";
import { type DataDifference, dataDifferences } from "./data-difference.ts";
import { type Holder, HolderSearch, isKeeper, sourceName } from "./data-holders.ts";
import { staticDefaultChange, staticKeysOf } from "./static-defaults.ts";

export interface DataFindings {
  problems: Problem[];
  cautions: Caution[];
}

/** What debug information adds to a finding. */
export interface DataNames {
  /** "path:line" of a variable or function. */
  placeOf(name: string): string | undefined;
  /** The type of a variable: "struct file_operations". */
  typeOf(variable: string): string | undefined;
  /** What holds the byte at an offset of a variable: ".unlocked_ioctl", where it begins and its size. */
  fieldAt(variable: string, offset: number): { path: string; offset: number; sizeBytes: number } | undefined;
}

/**
 * Judges each datum of the original that the patched source has otherwise. What functions of this unit only read goes
 * along with them; what others hold, or may have written to, cannot.
 */
export function dataFindings(
  original: UnitObject,
  patched: UnitObject,
  correlation: Correlation,
  sameContent: (original: Piece, patched: Piece) => boolean,
  names?: DataNames,
): DataFindings {
  const judge = new DataJudge(original, names);
  // A datum that only refers to another one whose content changes stays what it is: the other one is judged.
  const sameButForTables = (before: Piece, after: Piece) =>
    sizeOf(before) === sizeOf(after) &&
    Buffer.compare(pieceBytes(before), pieceBytes(after)) === 0 &&
    before.references.length === after.references.length &&
    before.references.every(({ offset, type, target }, index) => {
      const other = after.references[index]!;
      if (offset !== other.offset || type !== other.type) return false;
      if (!isPieceTarget(target) || !isPieceTarget(other.target))
        return targetKey(target) === targetKey(other.target);
      const [a, b] = [target, other.target];
      if (a.addend - a.piece.entry !== b.addend - b.piece.entry) return false;
      if (correlation.patchedOf.get(a.piece) === b.piece || sameContent(a.piece, b.piece)) return true;
      return (
        isContentOnly(a.piece) &&
        a.piece.named &&
        nameWithoutNumbers(a.piece.name) === nameWithoutNumbers(b.piece.name)
      );
    });
  for (const [before, after] of correlation.patchedOf)
    if (isData(before) && isData(after) && before.named && !isBookkeeping(before.name))
      judge.judge(before, after, sameContent(before, after) || sameButForTables(before, after));
  for (const [before, after] of changedConstantLocals(original, patched, sameContent))
    judge.judge(before, after, false);
  return judge.findings;
}

function targetKey(target: Piece["references"][number]["target"]): string | undefined {
  return isPieceTarget(target) ? undefined : `${target.symbol} ${target.addend}`;
}

function isData(piece: Piece): boolean {
  return piece.role === "data" || piece.role === "readOnlyData";
}

/**
 * Constants that a function declares for itself (`static const` within it) go by their content alone. Those that have
 * no twin in the other object are paired by their names, in the order of the objects.
 */
function changedConstantLocals(
  original: UnitObject,
  patched: UnitObject,
  sameContent: (original: Piece, patched: Piece) => boolean,
): [Piece, Piece][] {
  const isLocal = (piece: Piece) =>
    piece.role === "readOnlyData" &&
    piece.named &&
    isContentOnly(piece) &&
    !isBookkeeping(piece.name) &&
    !isFunctionNameConstant(piece.name);
  const groups = new Map<string, { before: Piece[]; after: Piece[] }>();
  for (const side of ["before", "after"] as const)
    for (const piece of (side === "before" ? original : patched).pieces.filter(isLocal)) {
      const key = nameWithoutNumbers(piece.name);
      const group = groups.get(key) ?? { before: [], after: [] };
      groups.set(key, group);
      group[side].push(piece);
    }
  return [...groups.values()].flatMap(({ before, after }) => {
    // Many of one name are the compiler's own (CSWTCH): a table that a switch is made into has no address to hold.
    if (before.length > 64 || after.length > 64) return [];
    const free = new Set(after);
    const alone = before.filter((piece) => {
      const twin = [...free].find((other) => sameContent(piece, other));
      if (twin) free.delete(twin);
      return twin === undefined;
    });
    const rest = [...free];
    return alone.slice(0, rest.length).map((piece, index): [Piece, Piece] => [piece, rest[index]!]);
  });
}

/** How the kernel treats a datum's memory. */
type Storage = "init" | "perCpu" | "readOnly" | "readOnlyAfterInit" | "writable";

function storageOf({ role, section: { name } }: Piece): Storage {
  if (isInitData(name)) return "init";
  if (name.startsWith(".data..percpu")) return "perCpu";
  if (name.startsWith(".data..ro_after_init")) return "readOnlyAfterInit";
  return role === "readOnlyData" ? "readOnly" : "writable";
}

class DataJudge {
  readonly findings: DataFindings = { problems: [], cautions: [] };
  readonly #search: HolderSearch;
  readonly #names: DataNames | undefined;
  readonly #keys: ReadonlySet<Piece>;

  constructor(original: UnitObject, names: DataNames | undefined) {
    this.#keys = staticKeysOf(original);
    this.#search = new HolderSearch(original);
    this.#names = names;
  }

  judge(before: Piece, after: Piece, isSame: boolean): void {
    const [was, becomes] = [storageOf(before), storageOf(after)];
    const moved = storageProblem(was, becomes);
    if (moved) this.#refuse(before, moved.code, moved.message(sourceName(before)), moved.hint, false);
    else if (!isSame)
      if (was === "readOnly") this.#judgeReadOnly(before, after);
      else this.#judgeLive(before, after, was);
  }

  #judgeLive(before: Piece, after: Piece, storage: Storage): void {
    const change = this.#describeChange(before, after);
    const name = sourceName(before);
    const differences = this.#differences(before, after);
    const type = this.#names?.typeOf(before.name);
    const fixed = staticDefaultChange(before, after, {
      type,
      keys: this.#keys,
      target: differences[0]?.after,
    });
    if (fixed)
      this.#refuse(before, "RK-DATA-CHANGE", `${change}. ${fixed.reason}.`, fixed.hint, fixed.canAccept);
    else if (storage === "init")
      this.#refuse(
        before,
        "RK-INIT-CHANGE",
        `${change}. It lies in ${before.section.name}: the kernel has used it while it started, and will not again.`,
        before.section.name === "__param"
          ? "Set the parameter's variable from a callback, or in /sys/module/MODULE/parameters where it can be written."
          : "Leave the change to data of the start out of the live patch, or do its work in a callback.",
      );
    else
      this.#refuse(
        before,
        "RK-DATA-CHANGE",
        `${change}. The running kernel holds it already (${before.section.name}), and what it holds by now may differ from what it started with.`,
        liveDataHint(name, storage, before, differences),
        sizeOf(before) === sizeOf(after),
      );
  }

  #judgeReadOnly(before: Piece, after: Piece): void {
    const holders = this.#holdersThroughTables(before, new Set(), 0);
    const differences = this.#differences(before, after);
    const hasCode = [before, after].some((piece) => piece.references.some(({ target }) => isCode(target)));
    const keeping = holders.filter((holder) => keeps(holder, hasCode));
    const name = sourceName(before);
    const change = this.#describeChange(before, after);
    if (keeping.length > 0) {
      const shown = keeping.slice(0, 3).map((holder) => this.#describeHolder(holder));
      if (keeping.length > 3) shown.push(`${keeping.length - 3} more hold it`);
      this.#refuse(
        before,
        "RK-DATA-CHANGE",
        `${change}. ${shown.join("; ")}: what holds it goes on with what the running kernel has.`,
        readOnlyHint(name, before, differences, keeping),
        sizeOf(before) === sizeOf(after),
      );
      return;
    }
    for (const holder of holders)
      this.findings.cautions.push({
        code: "RK-CAUTION-DATA-PASSED",
        message: `${change}. ${this.#describeHolder(holder)}, which may keep it: what got it before goes on with the old content, what gets it now has an address within the live patch.`,
        hint: "Make sure that the address is used only during that call. If it is kept, take the live patch back only when nothing uses it any more.",
        source: this.#names?.placeOf(before.name),
      });
  }

  /** Holders of a datum, and of the read-only tables that hold it and can be carried along themselves. */
  #holdersThroughTables(data: Piece, seen: Set<Piece>, depth: number): Holder[] {
    if (seen.has(data)) return [];
    seen.add(data);
    return this.#search.holdersOf(data).flatMap((holder) => {
      if (holder.kind !== "data" || storageOf(holder.piece) !== "readOnly" || depth > maxTables)
        return [holder];
      const further = this.#holdersThroughTables(holder.piece, seen, depth + 1);
      return further.some((other) => keeps(other, true)) ? [holder] : further;
    });
  }

  #differences(before: Piece, after: Piece): DataDifference[] {
    const names = this.#names;
    return dataDifferences(before, after, names && ((offset) => names.fieldAt(before.name, offset)));
  }

  #describeChange(before: Piece, after: Piece): string {
    const name = sourceName(before);
    const differences = this.#differences(before, after);
    const shown = differences.slice(0, 3).map(({ offset, before: was, after: becomes }) => {
      const path = this.#names?.fieldAt(before.name, offset)?.path;
      const isWhole = path === "" || (path === undefined && offset === 0 && sizeOf(before) <= 8);
      const at = path === undefined ? `offset ${offset}: ` : `${path} at offset ${offset}: `;
      return `${isWhole ? "" : at}${was} becomes ${becomes}`;
    });
    if (differences.length > 3) shown.push(`${differences.length - 3} more`);
    const type = this.#names?.typeOf(before.name);
    const inside = [type, shown.join(", ")].filter(Boolean).join("; ");
    const what =
      sizeOf(before) === sizeOf(after)
        ? `The content of ${name}`
        : `The size of ${name} (${sizeOf(before)} bytes) becomes ${sizeOf(after)}`;
    if (sizeOf(before) === sizeOf(after)) return `${what}${inside === "" ? "" : ` (${inside})`} changes`;
    return `${what}${inside === "" ? "" : ` (${inside})`}`;
  }

  #describeHolder(holder: Holder): string {
    switch (holder.kind) {
      case "data": {
        const member = this.#names?.fieldAt(holder.piece.name, holder.offset)?.path;
        const where = member ?? ` (offset ${holder.offset})`;
        return `${sourceName(holder.piece)}${where}${this.#placed(holder.piece)} holds its address${this.#usersOf(holder.piece)}`;
      }
      case "object":
        return `${sourceName(holder.function)}()${this.#placed(holder.function)} writes its address into an object, at offset ${holder.offset}`;
      case "callee":
        return `${sourceName(holder.function)}()${this.#placed(holder.function)} hands its address to ${holder.callee === undefined ? "a function that it calls through a pointer" : `${holder.callee}()`}`;
      case "caller":
        return `${sourceName(holder.function)}()${this.#placed(holder.function)} returns its address to its callers`;
      case "code":
        return `${sourceName(holder.function)} uses its address in a way that cannot be followed`;
      case "others":
        return `Other units may hold its address, for ${holder.name} is global`;
    }
  }

  /** Which functions give a holder away: ", which foo_init() hands to misc_register()". */
  #usersOf(piece: Piece): string {
    const takesBack = /(un|de)register|remove|del(ete)?_|_exit/;
    const handed = this.#search
      .holdersOf(piece)
      .filter((holder) => holder.kind === "callee" && holder.callee !== undefined)
      .find((holder) => holder.kind === "callee" && !takesBack.test(holder.callee ?? ""));
    if (handed?.kind === "callee")
      return `, and ${sourceName(handed.function)}() hands that to ${handed.callee}()`;
    return "";
  }

  #placed({ name }: Piece): string {
    const place = this.#names?.placeOf(name);
    return place === undefined ? "" : ` (${place})`;
  }

  /** @param canAccept false where patched code may reach behind the kernel's copy, or run wrong: nobody can vouch for that */
  #refuse(before: Piece, code: string, message: string, hint: string, canAccept = true): void {
    this.findings.problems.push({
      code,
      message,
      hint,
      source: this.#names?.placeOf(before.name),
      subject: canAccept ? sourceName(before) : undefined,
      section: before.section.name,
    });
  }
}

/** Tables that hold tables: deeper than any that people write. */
const maxTables = 32;

function sizeOf(piece: Piece): number {
  return piece.end - piece.start;
}

function isCode(target: Piece["references"][number]["target"]): boolean {
  return isPieceTarget(target) && (target.piece.role === "code" || target.piece.role === "initCode");
}

/** @param hasCode whether the datum points to functions, as operations do that are given away to be kept */
function keeps(holder: Holder, hasCode: boolean): boolean {
  if (holder.kind === "data" || holder.kind === "object" || holder.kind === "others") return true;
  if (hasCode || holder.function.role === "initCode") return true;
  return holder.kind === "callee" && isKeeper(holder.callee);
}

/** What a datum that moves to another kind of memory means for the functions that use it. */
function storageProblem(
  was: Storage,
  becomes: Storage,
): { code: string; message: (name: string) => string; hint: string } | undefined {
  const another =
    "Give it another name in the patch: then it is a new variable, which the live patch brings along.";
  if (was === becomes || becomes === "init") return undefined;
  if (was === "init")
    return {
      code: "RK-INIT-CHANGE",
      message: (name) =>
        `${name} no longer is __init data in the patched source, but the running kernel has given its memory away after it started.`,
      hint: `${another} Set what the start would have set from a callback.`,
    };
  if (was === "perCpu" || becomes === "perCpu")
    return {
      code: "RK-DATA-CHANGE",
      message: (name) =>
        `${name} ${becomes === "perCpu" ? "becomes" : "no longer is"} a per-CPU variable, but in the running kernel it ${becomes === "perCpu" ? "is none" : "is one"}.`,
      hint: another,
    };
  if (becomes === "writable")
    return {
      code: "RK-DATA-CHANGE",
      message: (name) =>
        `${name} becomes writable, but lies in memory that the running kernel has made read-only${was === "readOnlyAfterInit" ? " after it started (__ro_after_init)" : ""}.`,
      hint: another,
    };
  return undefined;
}

function liveDataHint(
  name: string,
  storage: Storage,
  before: Piece,
  differences: readonly DataDifference[],
): string {
  if (storage === "readOnlyAfterInit")
    return "The kernel has made it read-only after it started. Leave it as it is, and change the functions that read it.";
  const [first] = differences;
  const isScalar = differences.length === 1 && sizeOf(before) <= 8 && first?.isAddress === false;
  const value = isScalar ? first.after : "…";
  const set =
    storage === "perCpu"
      ? `int cpu; for_each_possible_cpu(cpu) per_cpu(${name}, cpu) = ${value};`
      : isScalar
        ? `${name} = ${value};`
        : `/* set what has to change in ${name}, under its lock */`;
  return `Leave it as it is, or set it from a callback (#include <rekernel/livepatch.h>):\nstatic int set_${name}(struct klp_object *obj) { ${set} return 0; }\nREKERNEL_PRE_PATCH(set_${name});`;
}

function readOnlyHint(
  name: string,
  before: Piece,
  differences: readonly DataDifference[],
  keeping: readonly Holder[],
): string {
  const isDeviceTable =
    before.symbols.some((symbol) => symbol.name.startsWith("__mod_")) ||
    /_(ids?|tbl|id_table)$/.test(name) ||
    /device_id/.test(name);
  const replaced = differences.find(
    ({ isAddress, before: was }) => isAddress && /^[A-Za-z_]\w*$/.test(was) && was !== "nothing",
  );
  if (keeping.every(({ kind }) => kind === "others"))
    return "Leave it as it is, and give the functions that need the new content a static copy of their own under another name.";
  if (isDeviceTable)
    return "Leave the table as it is. Devices are bound to a driver without it through /sys/bus/BUS/drivers/DRIVER/new_id, or driver_override of the device.";
  if (replaced)
    return `A live patch cannot write to it. Leave it as it is, and give the function that it names, ${replaced.before}(), the new body.`;
  return "A live patch cannot write to it. Leave it as it is, and change the functions that read it, or those that are called through it.";
}
