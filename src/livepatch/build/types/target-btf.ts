import type { Btf } from "../../../formats/btf.ts";
import type { KernelImage } from "../../../kernel/image.ts";
import type { TargetModules } from "../match/target-modules.ts";
import type { UnitOwner } from "../units/units.ts";
import { moduleTypes } from "./target-types.ts";

/**
 * The types of the part of the target that a unit belongs to; undefined where it has no BTF.
 *
 * @throws RekernelError RK-BAD-BTF (1)
 */
export function targetBtf(
  image: KernelImage,
  modules: TargetModules,
): (unit: { owner: UnitOwner }) => Promise<Btf | undefined> {
  return async ({ owner }) => {
    if (owner.kind === "vmlinux") return image.btf;
    const file = await modules.open(owner.name);
    return file && moduleTypes(file.elf, image.btf);
  };
}
