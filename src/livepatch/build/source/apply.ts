import { RekernelError } from "../../../core/errors.ts";
import type { FilePatch, Hunk } from "./patch.ts";

/** One line of a file that patches are applied to. */
export interface SourceLine {
  text: string;
  /** False only for a last line that the file ends in the middle of. */
  newline: boolean;
  /** The line's number in the unpatched file, from 1; undefined for a line that a patch brought. */
  origin: number | undefined;
}

/** Splits a file (latin1: one character per byte). */
export function sourceLines(text: string): SourceLine[] {
  const lines = text.split("\n");
  const last = lines.pop()!;
  const result: SourceLine[] = lines.map((line, i) => ({ text: line, newline: true, origin: i + 1 }));
  if (last !== "") result.push({ text: last, newline: false, origin: result.length + 1 });
  return result;
}

export function joinLines(lines: readonly SourceLine[]): string {
  let text = "";
  for (const line of lines) text += line.newline ? `${line.text}\n` : line.text;
  return text;
}

export interface AppliedFile {
  /** Undefined when the patch deletes the file. */
  lines: SourceLine[] | undefined;
  /** For each hunk, by how many lines it lies off the place that its header names. */
  offsets: number[];
}

/**
 * Applies the hunks of one file. Every context and removed line must be there exactly. A hunk may lie somewhere else
 * than its header says only where its lines occur once in what is left of the file; nothing is ever guessed.
 *
 * @param lines the file, undefined when there is none
 * @throws RekernelError RK-PATCH-DOES-NOT-APPLY (1)
 */
export function applyToFile(
  lines: readonly SourceLine[] | undefined,
  file: FilePatch,
  path: string,
  patchName: string,
): AppliedFile {
  const fail = (hunk: Hunk | undefined, reason: string, details?: string): RekernelError =>
    new RekernelError(
      "failed",
      "RK-PATCH-DOES-NOT-APPLY",
      hunk
        ? `${patchName} does not apply: ${path}, hunk ${file.hunks.indexOf(hunk) + 1} (line ${hunk.oldStart}): ${reason}`
        : `${patchName} does not apply: ${path}: ${reason}`,
      {
        hint: "A live patch is built only from a patch that fits the target's source exactly: make it against that source.",
        ...(details === undefined ? {} : { details }),
      },
    );
  if (file.oldPath === undefined && lines !== undefined)
    throw fail(undefined, "it creates this file, and the source has it already.");
  if (file.oldPath !== undefined && lines === undefined)
    throw fail(undefined, "it changes this file, and the source has none.");

  const source = lines ?? [];
  const result: SourceLine[] = [];
  const offsets: number[] = [];
  let done = 0;
  let offset = 0;
  for (const hunk of file.hunks) {
    const before = hunk.lines.filter((line) => line.kind !== "+");
    // With no line before, the header names the line after which to insert.
    const named = before.length === 0 ? hunk.oldStart : hunk.oldStart - 1;

    const start = findPlace(source, done, named, offset, before);
    if (start === undefined) {
      const { reason, details } = explain(source, done, named + offset, hunk);
      throw fail(hunk, reason, details);
    }
    if (start === "ambiguous")
      throw fail(hunk, "its lines are not where it says, and occur at several other places of the file.");
    for (; done < start; done++) result.push(source[done]!);
    for (const line of hunk.lines) {
      if (line.kind === "+") result.push({ text: line.text, newline: line.newline, origin: undefined });
      else if (line.kind === "-") done++;
      else result.push(source[done++]!);
    }
    offset = start - named;
    offsets.push(offset);
  }
  for (; done < source.length; done++) result.push(source[done]!);
  if (file.newPath === undefined) {
    if (result.length > 0)
      throw fail(undefined, "it deletes this file, and the source has more lines than it deletes.");
    return { lines: undefined, offsets };
  }
  if (result.slice(0, -1).some((line) => !line.newline))
    throw fail(file.hunks.at(-1), "it would join two lines.");
  return { lines: result, offsets };
}

interface Wanted {
  text: string;
  newline: boolean;
}

function matchesAt(source: readonly SourceLine[], start: number, wanted: readonly Wanted[]): boolean {
  if (start < 0 || start + wanted.length > source.length) return false;
  for (let i = 0; i < wanted.length; i++) {
    const line = source[start + i]!;
    if (line.text !== wanted[i]!.text || line.newline !== wanted[i]!.newline) return false;
  }
  return true;
}

/** Index of the hunk's first line: where it says, else where the hunk before lay off to, else the only place there is. */
function findPlace(
  source: readonly SourceLine[],
  from: number,
  named: number,
  offset: number,
  wanted: readonly Wanted[],
): number | "ambiguous" | undefined {
  for (const start of [named + offset, named])
    if (start >= from && matchesAt(source, start, wanted)) return start;
  // Without any context there is nothing to find it by.
  if (wanted.length === 0) return undefined;
  const places = findAll(source, from, wanted, 2);
  return places.length > 1 ? "ambiguous" : places[0];
}

function findAll(
  source: readonly SourceLine[],
  from: number,
  wanted: readonly Wanted[],
  limit: number,
): number[] {
  const places: number[] = [];
  for (let start = from; start + wanted.length <= source.length && places.length < limit; start++)
    if (matchesAt(source, start, wanted)) places.push(start);
  return places;
}

/** Why a hunk is not there, in the order of what helps most. */
function explain(
  source: readonly SourceLine[],
  from: number,
  expected: number,
  hunk: Hunk,
): { reason: string; details?: string } {
  const before = hunk.lines.filter((line) => line.kind !== "+");
  const after = hunk.lines.filter((line) => line.kind !== "-");
  if (after.length > 0 && findAll(source, from, after, 1).length > 0)
    return { reason: "the source has this change already." };
  for (const fuzz of [1, 2]) {
    const lead = leading(hunk);
    const trail = leading({ ...hunk, lines: hunk.lines.toReversed() });
    const trimmed = before.slice(Math.min(fuzz, lead), before.length - Math.min(fuzz, trail));
    if (trimmed.length === 0 || trimmed.length === before.length) continue;
    const place = findAll(source, from, trimmed, 1)[0];
    if (place !== undefined)
      return {
        reason: `it would apply only with fuzz, ignoring context lines that differ, at line ${place + 1}. That is not exact enough for a live patch.`,
        ...firstDifference(source, place - Math.min(fuzz, lead), before),
      };
  }
  const squeeze = (lines: readonly Wanted[]): Wanted[] =>
    lines.map((line) => ({ text: line.text.replace(/\s+/g, " ").trim(), newline: true }));
  const squeezed = squeeze(source).map((line) => ({ ...line, origin: undefined }));
  const blank = findAll(squeezed, from, squeeze(before), 1)[0];
  if (blank !== undefined)
    return {
      reason: `its lines are at line ${blank + 1} with other white space (tabs, blanks or line ends). Mail programs do that to patches.`,
    };
  const nearest = nearestPlace(source, from, expected, before);
  return {
    reason: "the source does not have the lines it expects.",
    ...firstDifference(source, nearest, before),
  };
}

function leading(hunk: Hunk): number {
  const first = hunk.lines.findIndex((line) => line.kind !== " ");
  return first < 0 ? hunk.lines.length : first;
}

/** The start around the expected one at which most lines agree. */
function nearestPlace(
  source: readonly SourceLine[],
  from: number,
  expected: number,
  wanted: readonly Wanted[],
): number {
  const reach = 2000;
  let best = Math.max(from, 0, Math.min(expected, source.length - 1));
  let bestScore = -1;
  for (let distance = 0; distance <= reach; distance++)
    for (const start of distance === 0 ? [expected] : [expected - distance, expected + distance]) {
      if (start < from || start >= source.length) continue;
      let score = 0;
      for (const [i, line] of wanted.entries())
        if (line.text.trim() !== "" && source[start + i]?.text === line.text) score++;
      if (score > bestScore) {
        bestScore = score;
        best = start;
      }
    }
  return best;
}

function firstDifference(
  source: readonly SourceLine[],
  start: number,
  wanted: readonly Wanted[],
): { details?: string } {
  for (const [i, line] of wanted.entries()) {
    const found = source[start + i];
    if (found && found.text === line.text && found.newline === line.newline) continue;
    return {
      details: [
        `line ${start + i + 1} of the source`,
        `  expected: ${show(line)}`,
        `  found:    ${found ? show(found) : "(the end of the file)"}`,
      ].join("\n"),
    };
  }
  return {};
}

function show(line: Wanted): string {
  const text = Buffer.from(line.text, "latin1").toString("utf8");
  return line.newline ? text : `${text} (without a newline at the end of the file)`;
}
