/** What the author of a patch can do instead of changing a structure's layout. */
import type { TypeChange } from "./compare.ts";
import { describeField } from "./compare.ts";
import type { Field } from "./layout.ts";
import { alignmentOf, type CType, describeMember, describeType, type Member, sizeOf } from "./model.ts";
import type { TypeUse } from "./uses.ts";

/** Sentences. */
export function adviceFor(key: string, before: CType, change: TypeChange, uses: readonly TypeUse[]): string {
  if (before.kind === "enum")
    return "Give new enumerators values that none had before, behind the others; leave those that exist.";
  const sentences: string[] = [];
  const placed = change.onlyAdded ? placeInGaps(before, change.added) : undefined;
  if (placed) {
    const where = placed.map(
      ({ field, behind, free }) =>
        `${describeField(field)} behind "${behind}", where ${free} ${free === 1 ? "byte is" : "bytes are"} free`,
    );
    sentences.push(`Declare ${where.join(", and ")}: then nothing moves, and the patch can be built.`);
  }
  const first = change.added[0];
  if (first)
    sentences.push(`${placed ? "Or leave" : "Leave"} ${key} as it is, and attach ${shadow(key, first)}`);
  else if (change.onlyMoved)
    sentences.push("It follows from the structures within it: undo the change of those.");
  else if (change.kinds.size === 0)
    sentences.push(
      "Leave the members where they are and as large as they are; what has to grow goes into a shadow variable.",
    );
  else
    sentences.push("Leave the members that exist as they are, and put what is new into a shadow variable.");
  const held = uses.find((use) => use.kind === "variable" && use.pointers === 0);
  if (held)
    sentences.push(
      `${held.name} itself lies in the running kernel: a pre_patch callback can set up a larger copy of it.`,
    );
  return sentences.join(" ");
}

/** A call that makes room for a new member beside an object that exists (Documentation/livepatch/shadow-vars.rst). */
function shadow(key: string, field: Field): string {
  const type = field.type;
  const name = field.name.replace(/^.*\./, "");
  const owner = /^struct (\w+)$/.exec(key)?.[1] ?? "object";
  const declaration = describeMember(`*${name}`, type).replace(/ \* ?\*/, " **");
  return `a shadow variable to its objects: ${declaration} = klp_shadow_get_or_alloc(${owner}, ID, sizeof(${describeType(type)}), GFP_KERNEL, NULL, NULL), freed with klp_shadow_free() where the object is.`;
}

export interface Placement {
  field: Field;
  /** The declaration of the member in front, and its name. */
  behind: string;
  behindName: string;
  /** Bytes of the gap. */
  free: number;
}

/** Puts new members into what lies unused between and behind the members of a structure; undefined if one does not fit. */
export function placeInGaps(before: CType, added: readonly Field[]): Placement[] | undefined {
  if (before.kind !== "struct") return undefined;
  const gaps = gapsOf(before);
  const placements: Placement[] = [];
  for (const field of added) {
    // A member of an unnamed structure within would have to go into that.
    if (field.name.includes(".") || field.isBitField || field.bitSize === 0) return undefined;
    const alignment = alignmentOf(field.type) * 8;
    // Near to where the patch puts it: members that belong together stay together.
    const gap = gaps
      .filter(({ start, end }) => Math.ceil(start / alignment) * alignment + field.bitSize <= end)
      .sort((a, b) => Math.abs(a.start - field.bitOffset) - Math.abs(b.start - field.bitOffset))[0];
    if (!gap) return undefined;
    const { behind, behindName } = gap;
    placements.push({ field, behind, behindName, free: Math.floor(gap.end / 8) - Math.ceil(gap.start / 8) });
    gap.start = Math.ceil(gap.start / alignment) * alignment + field.bitSize;
    gap.behind = describeMember(field.name, field.type);
    gap.behindName = field.name;
  }
  return placements;
}

/** In bits. */
interface Gap {
  start: number;
  end: number;
  behind: string;
  behindName: string;
}

function gapsOf(type: CType): Gap[] {
  const members = [...type.members].sort((a, b) => a.bitOffset - b.bitOffset);
  const gaps: Gap[] = [];
  let covered = 0;
  let last: Member | undefined;
  const close = (at: number) => {
    if (last && at > covered && last.name !== "")
      gaps.push({
        start: covered,
        end: at,
        behind: describeMember(last.name, last.type, last.bitSize),
        behindName: last.name,
      });
  };
  for (const member of members) {
    close(member.bitOffset);
    const end = member.bitOffset + (member.bitSize ?? sizeOf(member.type) * 8);
    if (end >= covered) {
      covered = end;
      last = member;
    }
  }
  close(sizeOf(type) * 8);
  return gaps;
}
