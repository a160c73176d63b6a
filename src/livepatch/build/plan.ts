/** Brings difference and match of all units together: what the module replaces, holds, and binds. Pure. */
import { RekernelError } from "../../core/errors.ts";
import { STB_GLOBAL, STB_WEAK } from "../../formats/elf/constants.ts";
import { type Callback, callbacksOf } from "./callbacks.ts";
import { carryThroughCallers } from "./carry.ts";
import { type Difference, differenceOf } from "./difference.ts";
import { type Caution, describeFinding, type Problem } from "./finding.ts";
import type { GlueObject } from "./glue.ts";
import { type Destination, type IncludedPiece, type IncludedReference, includedPieces } from "./inclusion.ts";
import { type FunctionMatch, matchUnit, type TargetCode, type UnitMatch } from "./match.ts";
import { isPieceTarget, type Piece, type TableEntry, type UnitObject } from "./object.ts";
import { KlpSymbolNames, unitOutputObject } from "./output.ts";
import {
  type Binding,
  type ExportedSymbol,
  moduleKeyProblem,
  type ResolveContext,
  resolveDestination,
  type Unresolved,
} from "./resolve.ts";
import { withRuntimeConstants } from "./runtime-constants.ts";
import { isOrdinaryData } from "./sections.ts";

export interface PlanUnit {
  source: string;
  /** Undefined for vmlinux, else the module's code. */
  module: TargetCode | undefined;
  original: UnitObject;
  patched: UnitObject;
}

export interface PlanContext {
  vmlinux: TargetCode;
  exports: ReadonlyMap<string, ExportedSymbol>;
  moduleNamed(name: string): TargetCode | undefined;
}

/** A function that the module replaces. */
export interface PlannedFunction {
  source: string;
  /** "vmlinux" or a module. */
  object: string;
  name: string;
  sympos: number;
  reason: string;
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
  /** Functions of the touched units that are byte for byte the target's. */
  identicalFunctions: number;
  comparedFunctions: number;
}

export interface AnalysedUnit extends PlanUnit {
  difference: Difference;
  /** Changed functions that their callers bring along. */
  carried: ReadonlySet<Piece>;
  callbacks: readonly Callback[];
  cautions: readonly Caution[];
  match: UnitMatch;
}

const noMatch: UnitMatch = { functions: new Map(), pieces: new Map(), symbols: new Map() };

export function analyseUnit(unit: PlanUnit, context: PlanContext): AnalysedUnit {
  const { difference, carried, problems } = carryThroughCallers(
    differenceOf(unit.original, unit.patched),
    unit.original,
    unit.patched,
  );
  const callbacks = callbacksOf(unit.patched);
  const bringsSomething =
    difference.changed.length > 0 || difference.newFunctions.length > 0 || callbacks.length > 0;
  return {
    ...unit,
    difference: { ...difference, problems: [...difference.problems, ...problems] },
    carried,
    callbacks,
    cautions: [],
    // Most units that a header reaches come out unchanged: nothing of theirs has to be found in the target.
    match: bringsSomething ? matchUnit(unit.original, unit.module ?? context.vmlinux) : noMatch,
  };
}

/** Functions of the unit that are not the target's, weak ones that another object overrides aside. */
export function mismatches(unit: AnalysedUnit): FunctionMatch[] {
  const changed = new Set(unit.difference.changed.map((change) => change.original));
  return [...unit.match.functions.values()].filter(
    ({ status, piece }) =>
      status !== "identical" &&
      (changed.has(piece) || (status !== "ambiguous" && piece.symbols[0]?.bind !== STB_WEAK)),
  );
}

/**
 * @throws RekernelError RK-NO-FUNCTIONAL-CHANGE (3); refused (4) with the first problem's code and all problems as details
 */
export function planModule(units: readonly AnalysedUnit[], context: PlanContext): ModulePlan {
  refuse(units.flatMap((unit) => unit.difference.problems.map((problem) => inUnit(unit.source, problem))));
  const neededNames = new Set(units.flatMap((unit) => unit.patched.pieces.flatMap(undefinedNames)));
  const isNewGlobal = (unit: AnalysedUnit, piece: Piece) =>
    !unit.difference.correlation.originalOf.has(piece) &&
    piece.symbols.some(({ name, bind }) => bind === STB_GLOBAL && neededNames.has(name));
  const replacesSomething = units.some(
    ({ difference, callbacks }) => difference.changed.length > 0 || callbacks.length > 0,
  );
  const touched = units.filter(
    (unit) =>
      unit.difference.changed.length > 0 ||
      unit.callbacks.length > 0 ||
      unit.patched.pieces.some((piece) => isNewGlobal(unit, piece)),
  );
  if (!replacesSomething)
    throw new RekernelError(
      "nothingToDo",
      "RK-NO-FUNCTIONAL-CHANGE",
      "The patch changes no function: the compiler makes the same code with and without it.",
      {
        hint: "Changes to comments, to white space or to code that the configuration leaves out need no live patch.",
      },
    );
  refuse(touched.flatMap(mismatchProblems));

  const newGlobals = new Set<string>();
  const included = touched.map((unit) => {
    const own = unit.module ?? context.vmlinux;
    const neededElsewhere = unit.patched.pieces.filter(
      (piece) => piece.role !== "initCode" && isNewGlobal(unit, piece),
    );
    for (const piece of neededElsewhere) for (const { name } of piece.symbols) newGlobals.add(name);
    const isReachable = (piece: Piece) =>
      unit.match.pieces.has(piece) || own.symbolsNamed(piece.name).length === 1;
    const roots = new Map<Piece, string>([
      ...neededElsewhere.map((piece) => [piece, "new, needed by another unit"] as const),
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
        ...converted.filter((entry) => "code" in entry),
        ...unknownTableProblems(unit.patched, pieces),
      ],
    };
  });
  refuse(included.flatMap(({ unit, problems }) => problems.map((problem) => inUnit(unit.source, problem))));

  const bound = included.map(({ unit, pieces }) => bindUnit(unit, pieces, context, newGlobals));
  refuse(bound.flatMap(({ unit, problems }) => problems.map((problem) => inUnit(unit.source, problem))));

  const functions = planFunctions(touched);
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
        isGlobal: (piece) => isNewGlobal(unit, piece),
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
        .filter(({ piece }) => !unit.difference.changed.some(({ patched }) => patched === piece))
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
    cautions: units.flatMap((unit) => unit.cautions.map((caution) => inUnit(unit.source, caution))),
    identicalFunctions: compared.filter(({ status }) => status === "identical").length,
    comparedFunctions: compared.length,
  };
}

function variableOf(unit: AnalysedUnit, symbol: string, addend: number): Destination {
  const piece = unit.original.byName.get(symbol);
  return piece
    ? { kind: "original", piece, addend: addend + piece.entry }
    : { kind: "symbol", symbol, weak: false, addend };
}

/** The kernel may work through tables that this program does not know; code in them is better left alone. */
function unknownTableProblems(patched: UnitObject, included: readonly IncludedPiece[]): Problem[] {
  const functions = new Set(included.map(({ piece }) => piece).filter((piece) => piece.role === "code"));
  return patched.pieces.flatMap((table) => {
    if ((table.role !== "data" && table.role !== "readOnlyData") || isOrdinaryData(table.section.name))
      return [];
    const inside = table.references.find(
      ({ target }) =>
        isPieceTarget(target) && functions.has(target.piece) && target.addend !== target.piece.entry,
    );
    if (!inside || !isPieceTarget(inside.target)) return [];
    return [
      {
        code: "RK-UNKNOWN-TABLE",
        message: `${inside.target.piece.name} has an entry in ${table.section.name}, a table that rekernel does not know.`,
        hint: "Please report it with the kernel's release; fix the defect in a caller of the function meanwhile.",
      },
    ];
  });
}

function planFunctions(
  units: readonly AnalysedUnit[],
): (PlannedFunction & { alias: string; patched: Piece; unit: AnalysedUnit })[] {
  let count = 0;
  return units.flatMap((unit) =>
    unit.difference.changed.map(({ original, patched, reason }) => {
      const symbol = unit.match.functions.get(original)!.symbol!;
      return {
        source: unit.source,
        object: unit.module?.object ?? "vmlinux",
        name: symbol.name,
        sympos: symbol.sympos,
        reason,
        sizeBytes: original.end - original.start - original.entry,
        newSizeBytes: patched.end - patched.start - patched.entry,
        alias: `klp_new_function_${count++}`,
        patched,
        unit,
      };
    }),
  );
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

function bindUnit(
  unit: AnalysedUnit,
  pieces: readonly IncludedPiece[],
  context: PlanContext,
  newGlobals: ReadonlySet<string>,
) {
  const resolveContext: ResolveContext = { ...context, module: unit.module, match: unit.match, newGlobals };
  const bindingOf = new Map<IncludedReference, Binding>();
  const atDefault = new Set<TableEntry>();
  const problems = new Map<string, Problem>();
  const resolve = (reference: IncludedReference): Binding | Unresolved | undefined =>
    reference.destination.kind === "included"
      ? undefined
      : resolveDestination(reference.destination, resolveContext);
  const bind = (reference: IncludedReference) => {
    const binding = resolve(reference);
    if (!binding) return;
    if (binding.kind === "unresolved") problems.set(binding.problem.message, binding.problem);
    else bindingOf.set(reference, binding);
  };
  for (const { piece, references, tableEntries } of pieces) {
    for (const reference of references) bind(reference);
    for (const entry of tableEntries) {
      const problem = moduleKeyProblem(entry, piece.name, (index) => resolve(entry.references[index]!));
      if (problem === "default") atDefault.add(entry);
      else if (problem) problems.set(problem.message, problem);
      if (problem === undefined || problem === "default")
        for (const reference of entry.references.slice(0, problem ? -1 : undefined)) bind(reference);
    }
    if (piece.role === "auxiliaryCode") {
      const late = references.find(
        (reference) =>
          bindingOf.get(reference)?.kind === "klp" &&
          (bindingOf.get(reference) as { relocatedFor: string }).relocatedFor !== "vmlinux",
      );
      if (late) problems.set(piece.name, lateAlternative(piece));
    }
  }
  return { unit, pieces, bindingOf, atDefault, problems: [...problems.values()] };
}

function lateAlternative(piece: Piece): Problem {
  return {
    code: "RK-ALTERNATIVE-OF-MODULE",
    message: `Alternative instructions (${piece.section.name}) refer to a symbol of the module itself: the kernel applies them before it can be bound.`,
    hint: "Move the call out of the alternative, into a function of its own.",
  };
}

function mismatchProblems(unit: AnalysedUnit): Problem[] {
  const different = mismatches(unit);
  const [first] = different;
  if (!first) return [];
  const object = unit.module?.object ?? "vmlinux";
  const list = different.slice(0, 8).map(({ piece, reason }) => `${piece.name} (${reason})`);
  const more = different.length > 8 ? `, and ${different.length - 8} more` : "";
  if (different.every(({ status }) => status === "ambiguous"))
    return [
      {
        code: "RK-SYMBOL-AMBIGUOUS",
        message: `${unit.source}: ${list.join(", ")}.`,
        hint: "Nothing tells which of the identical functions is meant; patch their callers instead.",
      },
    ];
  return [
    {
      code: "RK-SOURCE-MISMATCH",
      message: `${unit.source}, compiled without the patch, is not what the target's ${object} holds: ${different.length} of ${unit.match.functions.size} functions differ: ${list.join(", ")}${more}.`,
      hint: "Source, configuration or compiler are not those the target was built from. Give the exact source of its release.",
    },
  ];
}

function undefinedNames(piece: Piece): string[] {
  return [piece.references, ...piece.tableEntries.map((entry) => entry.references)]
    .flat()
    .flatMap(({ target }) => (isPieceTarget(target) ? [] : [target.symbol]));
}

function inUnit<F extends Problem | Caution>(source: string, problem: F): F {
  return problem.source !== undefined || problem.message.startsWith(source)
    ? problem
    : { ...problem, message: `${source}: ${problem.message}` };
}

function refuse(problems: readonly Problem[]): void {
  const [first, ...others] = problems;
  if (!first) return;
  const place = first.source === undefined || first.message.includes(first.source) ? "" : `${first.source}: `;
  throw new RekernelError("refused", first.code, place + first.message, {
    hint: first.hint,
    ...(others.length > 0 ? { details: others.map(describeFinding).join("\n") } : {}),
  });
}
