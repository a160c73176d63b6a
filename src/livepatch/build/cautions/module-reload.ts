import type { Caution } from "../finding.ts";
import type { KlpBinding } from "../module/resolve.ts";

/**
 * Kernels before 6.3 do not clear a live patch's references to a module when that is unloaded, and refuse to write
 * them again when it is loaded again (arch/x86/kernel/module.c: "Invalid relocation target, existing value is
 * nonzero"); then they refuse the module. Pure.
 *
 * @param clears whether the kernel has clear_relocate_add(), which 6.3 brought
 */
export function reloadCautions(bindings: Iterable<KlpBinding>, clears: boolean): Caution[] {
  if (clears) return [];
  const modules = new Set([...bindings].map(({ relocatedFor }) => relocatedFor));
  modules.delete("vmlinux");
  return [...modules].sort().map((module) => ({
    code: "RK-CAUTION-MODULE-RELOAD",
    message: `While this live patch is loaded, the kernel can load the module ${module} once only: unloaded, it cannot be loaded again.`,
    hint: `Linux 6.3 mended that. Take the live patch back before ${module} is unloaded, and load it again afterwards.`,
  }));
}
