/** What debug information says about the data of an object: types, members and places, by symbols' names. */
import type { DataNames } from "../difference/data-changes.ts";
import { readDebugInfo, type UnitDebugInfo } from "./debug-info.ts";
import { type CType, describeType, maxDepth, sizeOf, stripped } from "./model.ts";

/**
 * Reads the debug information only when it is asked for.
 *
 * @throws RekernelError RK-BAD-DWARF (1), from the members
 */
export function dataNames(bytes: Uint8Array, name: string): DataNames {
  let read: { info: UnitDebugInfo | undefined } | undefined;
  const info = () => {
    read ??= { info: readDebugInfo(bytes, name) };
    return read.info;
  };
  return {
    placeOf: (symbol) => info()?.placeOf(symbol),
    typeOf: (variable) => {
      const type = unqualified(info()?.typeOf(variable));
      return type && describeType(type).replace(/^const /, "");
    },
    fieldAt: (variable, offset) => fieldAt(info()?.typeOf(variable), offset),
  };
}

/** The innermost member or element that holds the byte at `offset`, as C writes the way to it: `[2].ops.open`. */
export function fieldAt(
  type: CType | undefined,
  offset: number,
): { path: string; offset: number; sizeBytes: number } | undefined {
  let path = "";
  let start = 0;
  let inner = stripped(type);
  for (let depth = 0; inner && depth < maxDepth; depth++) {
    if (inner.kind === "array") {
      const element = stripped(inner.target);
      const size = sizeOf(element);
      if (size === 0) return undefined;
      const index = Math.floor((offset - start) / size);
      path += `[${index}]`;
      start += index * size;
      inner = element;
    } else if (inner.isAggregate) {
      // Of a union the first member is as good as any.
      const member = inner.members.find(({ bitOffset, type: of, bitSize }) => {
        const at = start + Math.floor(bitOffset / 8);
        return bitSize === undefined && offset >= at && offset < at + sizeOf(of);
      });
      if (!member) return undefined;
      if (member.name !== "") path += `.${member.name}`;
      start += Math.floor(member.bitOffset / 8);
      inner = stripped(member.type);
    } else {
      const sizeBytes = sizeOf(inner);
      return sizeBytes > 0 && offset < start + sizeBytes ? { path, offset: start, sizeBytes } : undefined;
    }
  }
  return undefined;
}

function unqualified(type: CType | undefined): CType | undefined {
  let inner = type;
  for (let depth = 0; inner?.kind === "qualifier" && depth < maxDepth; depth++) inner = inner.target;
  return inner;
}
