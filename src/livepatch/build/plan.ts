/** Brings difference and match of all units together: what the module replaces, holds, and binds. Pure. */
import { RekernelError } from "../../core/errors.ts";
import { STB_GLOBAL } from "../../formats/elf/constants.ts";
import { type AnalysedUnit, type PlanContext, withMatch } from "./analysis.ts";
import { patchVariable } from "./author/author-header.ts";
import { withAnswers } from "./author/directives.ts";
import { type SystemState, statesOf } from "./author/states.ts";
import { changeCautions } from "./cautions/change-cautions.ts";
import { reloadCautions } from "./cautions/module-reload.ts";
import { type MovedFunction, movedFunctions } from "./difference/moved-functions.ts";
import type { Caution, Problem } from "./finding.ts";
import { bindUnit } from "./module/bind.ts";
import type { GlueObject } from "./module/glue.ts";
import { type Destination, type IncludedPiece, includedPieces } from "./module/inclusion.ts";
import { KlpSymbolNames, unitOutputObject } from "./module/output.ts";
import { withRuntimeConstants } from "./module/runtime-constants.ts";
import { isPieceTarget, type Piece } from "./object/object.ts";
import { shortBranchProblem } from "./object/short-branches.ts";
import { inUnit, mismatchProblems, refuse, refuseDifferences, unknownTableProblems } from "./refusal.ts";

/** A function that the module replaces. */
export interface PlannedFunction {
  source: string;
  /** "vmlinux" or a module. */
  object: string;
  name: string;
  sympos: number;
  reason: string;
  /** How the original equals the target: as compiled here, or as the kernel's own command compiles it. */
  match: "identical" | "identical-by-stock-flags";
  sizeBytes: number;
  newSizeBytes: number;
}

export interface ModulePlan {
  functions: readonly PlannedFunction[];
  /** New functions and data, and copies of constants, by unit. */
  included: readonly {
    source: string;
    name: string;
    kind: "function" | "data" | "constant";
    sizeBytes: number;
    reason: string;
  }[];
  objects: readonly GlueObject[];
  units: readonly Uint8Array[];
  names: KlpSymbolNames;
  aliases: ReadonlySet<string>;
  namespaces: readonly string[];
  cautions: readonly Caution[];
  states: readonly SystemState[];
  /** Functions of the touched units that are byte for byte the target's. */
  identicalFunctions: number;
  comparedFunctions: number;
}

/**
 * @throws RekernelError RK-AUTHOR-MACRO (1); RK-NO-FUNCTIONAL-CHANGE (3); refused (4) with the first problem's code and all problems as details
 */
export function planModule(analysed: readonly AnalysedUnit[], context: PlanContext): ModulePlan {
  const { units, moved } = withMovedFunctions(withAnswers(analysed), context);
  refuseDifferences(units);
  const neededNames = new Set(units.flatMap((unit) => unit.patched.pieces.flatMap(undefinedNames)));
  const isOwnGlobal = (unit: AnalysedUnit, piece: Piece) =>
    (!unit.difference.correlation.originalOf.has(piece) || unit.carried.has(piece)) &&
    piece.symbols.some(({ name, bind }) => bind === STB_GLOBAL && neededNames.has(name));
  const replacesSomething = units.some(
    ({ difference, callbacks }) => difference.changed.length > 0 || callbacks.length > 0,
  );
  const touched = units.filter(
    (unit) =>
      moved.some(({ from, to }) => unit === from || unit === to) ||
      unit.difference.changed.length > 0 ||
      unit.callbacks.length > 0 ||
      unit.patched.pieces.some((piece) => isOwnGlobal(unit, piece)),
  );
  if (!replacesSomething && moved.length === 0)
    throw new RekernelError(
      "nothingToDo",
      "RK-NO-FUNCTIONAL-CHANGE",
      "The patch changes no function: the compiler makes the same code with and without it.",
      {
        hint: "Changes to comments, to white space or to code that the configuration leaves out need no live patch.",
      },
    );
  refuse(
    touched.flatMap((unit) =>
      mismatchProblems(
        unit,
        moved.filter(({ from }) => from === unit).map(({ original }) => original),
      ),
    ),
  );

  const newGlobals = new Map([[patchVariable, "vmlinux"]]);
  const included = touched.map((unit) => {
    const own = unit.module ?? context.vmlinux;
    const neededElsewhere = unit.patched.pieces.filter(
      (piece) => piece.role !== "initCode" && isOwnGlobal(unit, piece),
    );
    const shared: Problem[] = [];
    for (const { name } of neededElsewhere.flatMap(({ symbols }) => symbols)) {
      const other = newGlobals.get(name);
      if (other !== undefined) shared.push(broughtTwice(name, other, own.object));
      newGlobals.set(name, own.object);
    }
    const isReachable = (piece: Piece) =>
      unit.match.pieces.has(piece) || own.symbolsNamed(piece.name).length === 1;
    const roots = new Map<Piece, string>([
      ...moved.flatMap(({ from, to, patched }) =>
        to === unit ? [[patched, `moved here from ${from.source}`] as const] : [],
      ),
      ...neededElsewhere.map(
        (piece) => [piece, `${unit.carried.has(piece) ? "changed" : "new"}, needed by another unit`] as const,
      ),
      ...unit.callbacks.map((callback) => [callback.function, `${callback.kind} callback`] as const),
    ]);
    const pieces = includedPieces(unit.difference, unit.patched, isReachable, roots, unit.carried);
    const converted = pieces.map((entry) =>
      withRuntimeConstants(entry, (symbol, addend) => variableOf(unit, symbol, addend)),
    );
    return {
      unit,
      pieces: converted.filter((entry) => "piece" in entry),
      problems: [
        ...shared,
        ...converted.filter((entry) => "code" in entry),
        ...unknownTableProblems(unit.patched, pieces),
        ...pieces.flatMap(({ piece }) => shortBranchProblem(piece) ?? []),
      ],
    };
  });
  refuse(included.flatMap(({ unit, problems }) => problems.map((problem) => inUnit(unit.source, problem))));

  const bound = included.map(({ unit, pieces }) => bindUnit(unit, pieces, context, newGlobals));
  refuse(bound.flatMap(({ unit, problems }) => problems.map((problem) => inUnit(unit.source, problem))));

  const functions = planFunctions(touched, moved);
  const callbacks = planCallbacks(touched);
  const named = [...functions, ...callbacks];
  const aliases = new Set(named.map(({ alias }) => alias));
  const names = new KlpSymbolNames(
    new Set([
      ...context.exports.keys(),
      ...aliases,
      ...included.flatMap(({ pieces }) =>
        pieces.flatMap(({ piece }) => piece.symbols.map(({ name }) => name)),
      ),
    ]),
  );
  const outputs = bound.map(({ unit, pieces, bindingOf, atDefault }) =>
    unitOutputObject(
      {
        source: unit.source,
        included: pieces,
        bind: (reference) => bindingOf.get(reference)!,
        staysDefault: (entry) => atDefault.has(entry),
        functionAliases: new Map(
          named.flatMap(({ patched, alias, unit: owner }) =>
            owner === unit ? [[patched, alias] as const] : [],
          ),
        ),
        isGlobal: (piece) => isOwnGlobal(unit, piece),
      },
      names,
    ),
  );
  const objects = [...new Set(named.map(({ object }) => object))];
  const compared = touched.flatMap((unit) => [...unit.match.functions.values()]);
  return {
    functions: functions.map(({ patched: _patched, unit: _unit, alias: _alias, ...planned }) => planned),
    included: included.flatMap(({ unit, pieces }) =>
      pieces
        .filter(({ piece }) => !functions.some(({ patched }) => patched === piece))
        .map((entry) => describeIncluded(unit.source, entry)),
    ),
    objects: objects.map((object) => ({
      module: object === "vmlinux" ? undefined : object,
      functions: functions
        .filter((planned) => planned.object === object)
        .map(({ name, sympos, alias }) => ({ oldName: name, sympos, newFunction: alias })),
      callbacks: callbacks
        .filter((planned) => planned.object === object)
        .map(({ kind, alias }) => ({ kind, function: alias })),
    })),
    units: outputs,
    names,
    aliases,
    namespaces: [
      ...new Set(
        bound.flatMap(({ bindingOf }) =>
          [...bindingOf.values()].flatMap((binding) =>
            binding.kind === "export" && binding.namespace !== "" ? [binding.namespace] : [],
          ),
        ),
      ),
    ].sort(),
    states: statesOf(units),
    cautions: [
      ...units.flatMap((unit) => unit.cautions.map((caution) => inUnit(unit.source, caution))),
      ...included.flatMap(({ unit, pieces }) => {
        const { difference, original, callbacks: own } = unit;
        const functions = own.map((callback) => callback.function);
        return changeCautions(difference, original, pieces, functions).map((each) =>
          inUnit(unit.source, each),
        );
      }),
      ...reloadCautions(
        names.bindings.values(),
        context.vmlinux.symbolsNamed("clear_relocate_add").length > 0,
      ),
    ],
    identicalFunctions: compared.filter(({ status }) => status === "identical").length,
    comparedFunctions: compared.length,
  };
}

/** The linker would take one for both, and its references are bound only while its module is loaded. */
function broughtTwice(name: string, object: string, other: string): Problem {
  return {
    code: "RK-UNIT-SHARED",
    message: `The new ${name}, which other files use, would come with ${object} and with ${other}: its file is linked into both.`,
    hint: "Put it into a file that belongs to one of them, or make it static inline in a header.",
  };
}

function variableOf(unit: AnalysedUnit, symbol: string, addend: number): Destination {
  const piece = unit.original.byName.get(symbol);
  return piece
    ? { kind: "original", piece, addend: addend + piece.entry }
    : { kind: "symbol", symbol, weak: false, addend };
}

function withMovedFunctions(
  units: readonly AnalysedUnit[],
  context: PlanContext,
): { units: readonly AnalysedUnit[]; moved: readonly MovedFunction[] } {
  const { moved, problems } = movedFunctions(units);
  refuse(problems);
  const matched = new Map(moved.map(({ from }) => [from, withMatch(from, context)]));
  const now = (unit: AnalysedUnit) => matched.get(unit) ?? unit;
  return {
    units: units.map(now),
    moved: moved.map((move) => ({ ...move, from: now(move.from), to: now(move.to) })),
  };
}

function planFunctions(
  units: readonly AnalysedUnit[],
  moved: readonly MovedFunction[],
): (PlannedFunction & { alias: string; patched: Piece; unit: AnalysedUnit })[] {
  const replaced = [
    ...units.flatMap((unit) =>
      unit.difference.changed.map((change) => ({ ...change, matchedIn: unit, unit })),
    ),
    ...moved.map(({ from, original, to, patched }) => ({
      original,
      patched,
      reason: `it changes, and moves here from ${from.source}`,
      matchedIn: from,
      unit: to,
    })),
  ];
  return replaced.map(({ original, patched, reason, matchedIn, unit }, index) => {
    const match = matchedIn.match.functions.get(original)!;
    const symbol = match.symbol!;
    return {
      source: unit.source,
      object: unit.module?.object ?? "vmlinux",
      name: symbol.name,
      sympos: symbol.sympos,
      reason,
      match: match.byStockFlags ? ("identical-by-stock-flags" as const) : ("identical" as const),
      sizeBytes: original.end - original.start - original.entry,
      newSizeBytes: patched.end - patched.start - patched.entry,
      alias: `klp_new_function_${index}`,
      patched,
      unit,
    };
  });
}

function planCallbacks(units: readonly AnalysedUnit[]) {
  const taken = new Map<string, string>();
  let count = 0;
  return units.flatMap((unit) =>
    unit.callbacks.map(({ kind, function: patched }) => {
      const object = unit.module?.object ?? "vmlinux";
      const other = taken.get(`${object} ${kind}`);
      if (other !== undefined)
        throw new RekernelError(
          "refused",
          "RK-CALLBACK-TWICE",
          `${other} and ${unit.source} both declare a ${kind} callback for ${object}, which can have one.`,
          {
            hint: "Call the one from the other.",
          },
        );
      taken.set(`${object} ${kind}`, unit.source);
      return { object, kind, alias: `klp_callback_${count++}`, patched, unit };
    }),
  );
}

function describeIncluded(source: string, { piece, reason }: IncludedPiece): ModulePlan["included"][number] {
  const kind =
    piece.role === "code" || piece.role === "auxiliaryCode"
      ? "function"
      : piece.role === "data"
        ? "data"
        : "constant";
  return { source, name: piece.name, kind, sizeBytes: piece.end - piece.start - piece.entry, reason };
}

function undefinedNames(piece: Piece): string[] {
  return [piece.references, ...piece.tableEntries.map((entry) => entry.references)]
    .flat()
    .flatMap(({ target }) => (isPieceTarget(target) ? [] : [target.symbol]));
}
