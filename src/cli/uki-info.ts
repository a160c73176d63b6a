import { type UnifiedKernelImage, ukiCommandLine, ukiOsName } from "../formats/uki.ts";

/** A unified kernel image for `--json`: what each profile would start. */
export function ukiDetails({ pe, profiles, hasProfiles }: UnifiedKernelImage) {
  return {
    signed: pe.certificates !== undefined,
    hasProfiles,
    profiles: profiles.map((profile) => ({
      index: profile.index,
      id: profile.id ?? null,
      title: profile.title ?? null,
      osName: ukiOsName(profile) ?? null,
      commandLine: ukiCommandLine(profile) ?? null,
      sections: profile.sections.map(({ name, data }) => ({ name, bytes: data.length })),
    })),
  };
}

export function ukiRows(uki: UnifiedKernelImage): [string, string][] {
  const { signed, hasProfiles, profiles } = ukiDetails(uki);
  const rows: [string, string][] = [["unified image", signed ? "has a signature" : "not signed"]];
  for (const { index, id, title, osName, commandLine, sections } of profiles) {
    if (hasProfiles) rows.push([`profile @${index}`, [id, title].filter(Boolean).join(", ") || "no name"]);
    if (osName !== null) rows.push(["  system", osName]);
    rows.push(["  command line", commandLine ?? "none"]);
    rows.push(["  sections", sections.map(({ name, bytes }) => `${name} ${bytes}`).join(", ")]);
  }
  return rows;
}
