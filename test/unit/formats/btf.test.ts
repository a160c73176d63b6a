import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { RekernelError } from "../../../src/core/errors.ts";
import { BTF_KIND_UNION, Btf } from "../../../src/formats/btf.ts";
import { readElf } from "../../../src/formats/elf/read.ts";
import { BtfTypes } from "../../../src/livepatch/build/types/btf-types.ts";
import { readDebugInfo } from "../../../src/livepatch/build/types/debug-info.ts";
import { fieldsOf } from "../../../src/livepatch/build/types/layout.ts";
import { describeType, sizeOf } from "../../../src/livepatch/build/types/model.ts";
import { layoutMismatches, tableEntrySizes } from "../../../src/livepatch/build/types/target-types.ts";
import { compileUnit } from "../livepatch/types/compile-with-debug-info.ts";

const source = `
struct bug_entry { int addr_disp, file_disp; unsigned short line, flags; };
struct jump_entry { int code, target; long key; };
struct item { unsigned a:3, b:5; struct item *next; union { long x; char bytes[8]; }; enum { RED, BLUE = -7 } color; char end[]; };
typedef struct { struct item *items[4]; int (*call)(const struct item *, char, ...); double d; } list_t;
struct list { list_t l; volatile struct item *const p; _Bool yes; };
struct list list; struct bug_entry bug; struct jump_entry jump; struct item item;
`;
// gcc 12 and later write BTF themselves; kernels have it from pahole.
const section = (text: string) => readElf(compileUnit(text, ["-gbtf"])).section(".BTF")!.data;
const bytes = section(source);

describe("BTF", () => {
  it("describes the types that DWARF describes", () => {
    const types = new BtfTypes(new Btf(bytes, "sample"));
    const { definitions } = readDebugInfo(compileUnit(source), "unit.o")!.types;
    for (const name of ["item", "list", "jump_entry"]) {
      const [own] = definitions.get(`struct ${name}`)!;
      const [other] = types.named("struct", name);
      expect(sizeOf(other)).toBe(sizeOf(own));
      const fields = (type: typeof own) =>
        fieldsOf(type!).map((field) => [
          field.name,
          field.bitOffset,
          field.bitSize,
          describeType(field.type),
        ]);
      expect(fields(other!)).toEqual(fields(own!));
    }
    expect(types.named("union", "item")).toEqual([]);
    expect(types.named("struct", "nothing")).toEqual([]);
  });

  it("tells the sizes of table entries", () => {
    expect(tableEntrySizes(new Btf(bytes, "sample"))).toEqual(
      new Map([
        ["__bug_table", 12],
        ["__jump_table", 16],
      ]),
    );
  });

  it("finds units that are not of the target", () => {
    const btf = new Btf(bytes, "the target");
    const check = (text: string) =>
      layoutMismatches("fs/unit.c", readDebugInfo(compileUnit(text), "unit.o")!, btf);
    expect(check(source)).toEqual([]);
    // What the target does not know is the unit's own.
    expect(check(source.replaceAll("struct item", "struct thing"))).toEqual([]);
    const [problem, ...others] = check(
      source.replace("long x;", "long x, y[2];").replace("long key", "char key"),
    );
    expect(others).toEqual([]);
    expect(problem).toEqual(expect.objectContaining({ code: "RK-SOURCE-MISMATCH", source: "fs/unit.c:3" }));
    expect(problem!.message).toContain("struct jump_entry (12 bytes instead of 16)");
    expect(problem!.message).toContain("struct item (40 bytes instead of 32)");
  });

  it("of a module goes on from that of vmlinux", () => {
    const vmlinux = new Btf(bytes, "vmlinux");
    const module = new Btf(splitBtf(vmlinux.structuresNamed("item")[0]!, bytes), "module", vmlinux);
    expect(module.structuresNamed("item")).toEqual(vmlinux.structuresNamed("item"));
    const [own] = module.structuresNamed("own");
    expect(own).toBe(vmlinux.endId);
    expect(module.kindOf(own!)).toBe(BTF_KIND_UNION);
    expect(module.membersOf(own!).map(({ name, type }) => [name, module.nameOf(type)])).toEqual([
      ["next", "item"],
    ]);
  });

  it("that is damaged is refused, or read as far as it goes", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat({ max: bytes.length - 1 }), fc.nat({ max: 255 })), {
          minLength: 1,
          maxLength: 10,
        }),
        fc.nat({ max: bytes.length }),
        (changes, length) => {
          const mutated = Uint8Array.from(bytes);
          for (const [at, value] of changes) mutated[at] = value;
          for (const candidate of [mutated, mutated.subarray(0, length)])
            try {
              const btf = new Btf(candidate, "sample");
              const types = new BtfTypes(btf);
              tableEntrySizes(btf);
              for (const name of ["item", "list"])
                for (const type of types.named("struct", name))
                  for (const field of fieldsOf(type)) describeType(field.type);
            } catch (error) {
              expect(error).toBeInstanceOf(RekernelError);
            }
        },
      ),
      { numRuns: 500 },
    );
  });
});

/** A module's BTF of one union that has a member of a type of the base. */
function splitBtf(memberType: number, base: Uint8Array): Uint8Array {
  const baseStrings = new DataView(base.buffer, base.byteOffset).getUint32(20, true);
  const strings = Buffer.from("\0own\0next\0");
  const bytes = Buffer.alloc(24 + 24 + strings.length);
  bytes.writeUInt16LE(0xeb9f, 0);
  bytes[2] = 1;
  for (const [at, value] of [24, 0, 24, 24, strings.length].entries()) bytes.writeUInt32LE(value, 4 + at * 4);
  for (const [at, value] of [baseStrings + 1, (5 << 24) | 1, 32, baseStrings + 5, memberType, 0].entries())
    bytes.writeUInt32LE(value, 24 + at * 4);
  strings.copy(bytes, 48);
  return bytes;
}
