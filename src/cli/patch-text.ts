import type { LivePatch } from "../host/livepatches.ts";

/** One word, or two, for where a patch stands. */
export function describeState(patch: Pick<LivePatch, "enabled" | "transition">): string {
  if (patch.transition) return patch.enabled ? "patching" : "unpatching";
  return patch.enabled ? "enabled" : "disabled";
}
