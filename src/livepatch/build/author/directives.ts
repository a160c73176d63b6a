/**
 * What the author of a patch decided about differences, with REKERNEL_IGNORE_… and REKERNEL_ACCEPT of
 * author-header.ts: what stays as the kernel has it, and what the author vouches for. Pure.
 */
import { RekernelError } from "../../../core/errors.ts";
import type { Difference } from "../difference/difference.ts";
import type { Caution, Problem } from "../finding.ts";
import { pieceBytes, type UnitObject } from "../object/object.ts";
import { directiveSection, fieldSeparator } from "./author-header.ts";

export type Directive =
  | { kind: "ignore-function"; name: string }
  | { kind: "ignore-section"; name: string }
  | { kind: "accept"; code: string; subject: string; reason: string };

/** Refusals that an author can answer: whether they are harmless depends on what nobody but the author knows. */
const acceptable: ReadonlySet<string> = new Set(["RK-TYPE-CHANGE", "RK-DATA-CHANGE"]);

/**
 * The directives that a unit's object carries.
 *
 * @throws RekernelError RK-AUTHOR-MACRO (1) for one that cannot be meant
 */
export function directivesOf(patched: UnitObject): Directive[] {
  return patched.pieces
    .filter(({ section }) => section.name === directiveSection)
    .flatMap((piece) => Buffer.from(pieceBytes(piece)).toString("utf8").split("\0"))
    .filter((text) => text !== "")
    .map((text) => parseDirective(text, patched.name));
}

function parseDirective(text: string, unit: string): Directive {
  const [kind, ...fields] = text.split(fieldSeparator);
  const [first = "", subject = "", reason = ""] = fields;
  if ((kind === "ignore-function" || kind === "ignore-section") && fields.length === 1 && first !== "")
    return { kind, name: first };
  const directive: Directive = { kind: "accept", code: first, subject, reason };
  if (kind !== "accept" || fields.length !== 3)
    throw wrongMacro(unit, JSON.stringify(text), "is none of this version's header.");
  if (!acceptable.has(first))
    throw wrongMacro(
      unit,
      describe(directive),
      `accepts what no author can vouch for: only ${[...acceptable].join(" and ")} can be accepted.`,
    );
  if (subject.trim() === "" || reason.trim() === "")
    throw wrongMacro(unit, describe(directive), "lacks what it is about, or the reason.");
  return directive;
}

/** A directive as it stands in the source. */
function describe(directive: Directive): string {
  if (directive.kind === "ignore-function") return `REKERNEL_IGNORE_FUNCTION(${directive.name})`;
  if (directive.kind === "ignore-section") return `REKERNEL_IGNORE_SECTION("${directive.name}")`;
  const { code, subject, reason } = directive;
  return `REKERNEL_ACCEPT(${[code, subject, reason].map((text) => JSON.stringify(text)).join(", ")})`;
}

function wrongMacro(unit: string, macro: string, what: string): RekernelError {
  return new RekernelError("failed", "RK-AUTHOR-MACRO", `${unit}: ${macro} ${what}`, {
    hint: "See the patch author's guide, docs/patch-author-guide.md.",
  });
}

/** The difference that is left after the author's directives. */
export interface Answered {
  difference: Difference;
  cautions: Caution[];
  /** The directives that answered something, as texts. */
  used: Set<string>;
}

/** Leaves out what the unit's author ignores. Its functions stay the kernel's, its data keeps the kernel's content. */
export function withoutIgnored(difference: Difference, directives: readonly Directive[]): Answered {
  const answered: Answered = { difference, cautions: [...difference.cautions], used: new Set() };
  for (const directive of directives) {
    if (directive.kind === "accept") continue;
    const before = answered.difference;
    const isFunction = directive.kind === "ignore-function";
    const changed = before.changed.filter(
      ({ patched }) => !(isFunction && isVariantOf(patched.name, directive.name)),
    );
    const { left, taken } = partition(before.problems, (problem) =>
      isFunction
        ? problem.code !== "RK-DATA-CHANGE" &&
          problem.subject !== undefined &&
          isVariantOf(problem.subject, directive.name)
        : problem.section === directive.name && isAnswerable(problem),
    );
    if (changed.length === before.changed.length && taken.length === 0) continue;
    answered.used.add(describe(directive));
    answered.difference = withVerdict({ ...before, changed, problems: left });
    const subjects = [...new Set(taken.flatMap(({ subject }) => subject ?? []))].join(", ");
    answered.cautions.push({
      code: "RK-CAUTION-IGNORED",
      message: isFunction
        ? `${directive.name} keeps the kernel's code: the patch's change to it is left out.`
        : `${subjects || "Data"} in ${directive.name} keeps the kernel's content: the patch's change to it is left out.`,
      hint: `${describe(directive)} asks for it. Make sure that the rest is right without.`,
      source: taken.find(({ source }) => source !== undefined)?.source,
    });
  }
  return answered;
}

/** Takes those problems out that REKERNEL_ACCEPT answers; each becomes a caution with the author's reason. */
export function withoutAccepted(
  problems: readonly Problem[],
  directives: readonly Directive[],
): { problems: Problem[]; cautions: Caution[]; used: Set<string> } {
  const used = new Set<string>();
  const cautions: Caution[] = [];
  const left = problems.filter((problem) => {
    const answer = directives.find(
      (directive) =>
        directive.kind === "accept" &&
        directive.code === problem.code &&
        directive.subject === problem.subject &&
        isAnswerable(problem),
    );
    if (answer?.kind !== "accept") return true;
    used.add(describe(answer));
    cautions.push({
      code: "RK-CAUTION-ACCEPTED",
      message: problem.message,
      hint: `The patch's author vouches for it: "${answer.reason}".`,
      source: problem.source,
    });
    return false;
  });
  return { problems: left, cautions, used };
}

/** What is needed of a unit to answer its problems. */
interface JudgedUnit {
  source: string;
  directives: readonly Directive[];
  /** The directives that answered something already, as texts. */
  used: ReadonlySet<string>;
  difference: Difference;
  cautions: readonly Caution[];
}

/**
 * Answers the problems of all units with REKERNEL_ACCEPT. A type is one for all units; data is the unit's own.
 *
 * @throws RekernelError RK-AUTHOR-MACRO (1) when a directive answers nothing in any unit: most often its name is
 *   misspelt. (A header's stands in every unit that includes it.)
 */
export function withAnswers<Unit extends JudgedUnit>(units: readonly Unit[]): Unit[] {
  const forTypes = units
    .flatMap(({ directives }) => directives)
    .filter((directive) => directive.kind === "accept" && directive.code === "RK-TYPE-CHANGE");
  const used = new Set(units.flatMap((unit) => [...unit.used]));
  const told = new Set<string>();
  const answered = units.map((unit): Unit => {
    const accepted = withoutAccepted(unit.difference.problems, [...unit.directives, ...forTypes]);
    for (const text of accepted.used) used.add(text);
    const cautions = accepted.cautions.filter(({ message }) => !told.has(message));
    for (const { message } of cautions) told.add(message);
    return {
      ...unit,
      difference: withVerdict({ ...unit.difference, problems: accepted.problems }),
      cautions: [...unit.cautions, ...cautions],
    };
  });
  for (const unit of units) requireUsed(unit, used);
  return answered;
}

function requireUsed({ source, directives, difference }: JudgedUnit, used: ReadonlySet<string>): void {
  const unused = directives.find((directive) => !used.has(describe(directive)));
  if (!unused) return;
  const there =
    unused.kind === "ignore-function"
      ? difference.changed.map(({ patched }) => patched.name)
      : difference.problems.map(
          ({ section, subject, code, message }) =>
            (unused.kind === "ignore-section" ? section : subject && `${code} of ${subject}`) ?? message,
        );
  const list = [...new Set(there)].slice(0, 8).join(", ");
  throw wrongMacro(
    source,
    describe(unused),
    `answers nothing: the patch makes no such difference.${list === "" ? "" : ` What differs there: ${list}`}`,
  );
}

/** The function itself, or what the compiler made of it: `f.isra.0`, `f.cold`. */
function isVariantOf(name: string, source: string): boolean {
  return name === source || name.startsWith(`${source}.`);
}

/** Data whose size changes has no subject: the patched code may reach behind the kernel's copy. */
function isAnswerable(problem: Problem): boolean {
  if (problem.code === "RK-DATA-CHANGE") return problem.subject !== undefined;
  return problem.code === "RK-INIT-CHANGE" || problem.code === "RK-TYPE-CHANGE";
}

function withVerdict(difference: Difference): Difference {
  const { problems, changed } = difference;
  return {
    ...difference,
    verdict: problems.length > 0 ? "refused" : changed.length > 0 ? "patchable" : "unchanged",
  };
}

function partition<T>(all: readonly T[], takes: (one: T) => boolean): { left: T[]; taken: T[] } {
  const left: T[] = [];
  const taken: T[] = [];
  for (const one of all) (takes(one) ? taken : left).push(one);
  return { left, taken };
}
