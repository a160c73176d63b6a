import { RekernelError } from "../core/errors.ts";
import type { UkiProfile, UnifiedKernelImage } from "../formats/uki.ts";

/**
 * The profile that `wanted` names by its number (with or without `@`) or by its ID; without a wish the first,
 * as systemd-stub does. Undefined for a file that is no unified kernel image.
 *
 * @throws RekernelError RK-USAGE (2) when there is no such profile
 */
export function chooseProfile(
  uki: UnifiedKernelImage | undefined,
  name: string,
  wanted?: string,
): UkiProfile | undefined {
  if (wanted === undefined) return uki?.profiles[0];
  if (uki === undefined)
    throw new RekernelError(
      "usage",
      "RK-USAGE",
      `${name} is no unified kernel image: it has no profiles to choose from.`,
    );
  const number = /^@?(\d+)$/.exec(wanted)?.[1];
  const found = uki.profiles.find(
    ({ index, id }) => id === wanted || (number !== undefined && index === Number(number)),
  );
  if (found) return found;
  throw new RekernelError("usage", "RK-USAGE", `${name} has no profile ${wanted}.`, {
    hint: uki.hasProfiles
      ? `It has ${uki.profiles.map((profile) => profileName(profile)).join(", ")}.`
      : "It has no profiles at all.",
  });
}

/** "@1 (factory-reset)" */
export function profileName({ index, id }: UkiProfile): string {
  return id === undefined ? `@${index}` : `@${index} (${id})`;
}
