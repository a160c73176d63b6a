/**
 * Unified kernel images: a UEFI program that carries kernel, initrd, command line and more as PE sections.
 *
 * Source: UAPI.5 Unified Kernel Image (sections, singletons, multi-profile images); systemd-stub(7).
 */
import { badImage } from "./bzimage.ts";
import { type PeFile, readPe } from "./pe.ts";

/** Sections of which a profile has one at most; .dtb and its kin may stand there several times. */
const singletons = [
  ".linux",
  ".osrel",
  ".cmdline",
  ".initrd",
  ".ucode",
  ".splash",
  ".uname",
  ".sbat",
  ".pcrsig",
  ".pcrpkey",
] as const;
const repeatable = [".dtb", ".dtbauto", ".hwids", ".efifw"] as const;
const known = new Set<string>([...singletons, ...repeatable]);
const single = new Set<string>(singletons);

export type UkiSectionName = (typeof singletons)[number] | (typeof repeatable)[number];

export interface UkiSection {
  name: UkiSectionName;
  /** A view of the file. */
  data: Uint8Array;
}

/** One way to start a unified kernel image. */
export interface UkiProfile {
  /** N of `@N`; 0 for an image without profiles as well. */
  index: number;
  /** ID= and TITLE= of its .profile section. */
  id: string | undefined;
  title: string | undefined;
  /** What is used when this profile is chosen: its own sections, and those of the base that it does not have. */
  sections: readonly UkiSection[];
}

export interface UnifiedKernelImage {
  pe: PeFile;
  /** At least one; the first is the one that is taken when nobody chooses. */
  profiles: readonly UkiProfile[];
  /** True when the image has .profile sections. */
  hasProfiles: boolean;
}

/**
 * Reads a unified kernel image. Sections of the boot stub itself are left out.
 *
 * @throws RekernelError RK-BAD-IMAGE (1) for a file that is no PE32+, has no kernel, or has a section twice
 */
export function readUki(bytes: Uint8Array, name = "The image"): UnifiedKernelImage {
  const pe = readPe(bytes, name);
  const base: UkiSection[] = [];
  const own: { header: Uint8Array; sections: UkiSection[] }[] = [];
  for (const section of pe.sections) {
    const current = own.at(-1)?.sections ?? base;
    if (section.name === ".profile") own.push({ header: section.data, sections: [] });
    else if (isKnown(section.name)) {
      if (single.has(section.name) && current.some((other) => other.name === section.name))
        throw badImage(name, `it has the section ${section.name} twice`);
      current.push({ name: section.name, data: section.data });
    }
  }
  const profiles: UkiProfile[] = own.map(({ header, sections }, index) => {
    const names = new Set(sections.map((section) => section.name));
    const fields = environmentBlock(ukiText(header));
    return {
      index,
      id: fields.get("ID"),
      title: fields.get("TITLE"),
      sections: [...base.filter((section) => !names.has(section.name)), ...sections],
    };
  });
  if (profiles.length === 0) profiles.push({ index: 0, id: undefined, title: undefined, sections: base });
  for (const profile of profiles)
    if (ukiSection(profile, ".linux") === undefined)
      throw badImage(
        name,
        own.length === 0
          ? `it is a UEFI ${isAddon(base) ? "add-on to a unified kernel image" : "program"} without a Linux kernel (it has no section .linux)`
          : `its profile @${profile.index} has no Linux kernel (no section .linux)`,
      );
  return { pe, profiles, hasProfiles: own.length > 0 };
}

function isKnown(name: string): name is UkiSectionName {
  return known.has(name);
}

/** The content of a profile's section; the first of several. */
export function ukiSection(profile: UkiProfile, name: UkiSectionName): Uint8Array | undefined {
  return profile.sections.find((section) => section.name === name)?.data;
}

/** A text section up to its first NUL, as UTF-8. */
export function ukiText(data: Uint8Array): string {
  const end = data.indexOf(0);
  return Buffer.from(end < 0 ? data : data.subarray(0, end)).toString("utf8");
}

/**
 * The kernel command line of a profile, as systemd-stub passes it: control characters become blanks, and
 * blanks at both ends go (mangle_stub_cmdline). Undefined without a .cmdline section.
 */
export function ukiCommandLine(profile: UkiProfile): string | undefined {
  const data = ukiSection(profile, ".cmdline");
  return (
    data &&
    ukiText(data)
      .replace(/\p{Cc}/gu, " ")
      .trim()
  );
}

/** PRETTY_NAME of .osrel. */
export function ukiOsName(profile: UkiProfile): string | undefined {
  const data = ukiSection(profile, ".osrel");
  return data && environmentBlock(ukiText(data)).get("PRETTY_NAME");
}

/** What a boot menu shows of a unified image, and sorts it by. */
export interface UkiNames {
  title: string | undefined;
  version: string | undefined;
  sortKey: string | undefined;
}

/** From the fields of .osrel that systemd-boot takes (bootspec_pick_name_version_sort_key). */
export function ukiNames(profile: UkiProfile): UkiNames {
  const data = ukiSection(profile, ".osrel");
  const fields = environmentBlock(data === undefined ? "" : ukiText(data));
  const first = (...names: string[]) => names.map((name) => fields.get(name)).find(Boolean);
  return {
    title: first("PRETTY_NAME", "NAME", "ID"),
    version: first("IMAGE_VERSION", "VERSION", "VERSION_ID", "BUILD_ID"),
    sortKey: first("IMAGE_ID", "ID"),
  };
}

/** os-release(5): KEY=value lines, values quoted or not, `#` for comments; of equal keys the last counts. */
function environmentBlock(text: string): Map<string, string> {
  const fields = new Map<string, string>();
  for (const line of text.split(/\r?\n/)) {
    const [, key, quoted, plain] =
      /^\s*([A-Za-z_][A-Za-z0-9_]*)=(?:"((?:[^"\\]|\\.)*)"|'?([^']*?)'?)\s*$/.exec(line) ?? [];
    if (key !== undefined) fields.set(key, quoted?.replace(/\\(.)/g, "$1") ?? plain ?? "");
  }
  return fields;
}

/** An add-on has sections that a unified kernel image uses, and no kernel. */
function isAddon(sections: readonly UkiSection[]): boolean {
  return sections.some(({ name }) => [".cmdline", ".dtb", ".ucode", ".initrd"].includes(name));
}
