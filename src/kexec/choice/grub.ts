/** GRUB's menu as it would come up on this machine, and the entry it would start. */
import { basename, dirname, join } from "node:path";
import { RekernelError } from "../../core/errors.ts";
import { type GrubDefault, grubDefault } from "../../formats/grub/default-entry.ts";
import { parseGrubEnvironment } from "../../formats/grub/environment.ts";
import { type GrubEntry, type GrubMenu, type GrubSnippet, grubMenu } from "../../formats/grub/menu.ts";
import { compareRpmVersions } from "../../formats/version-order.ts";
import type { BootFiles } from "./boot-files.ts";
import type { BootKernel, LoaderMenu } from "./boot-kernel.ts";
import { readEntryFiles } from "./specification.ts";

/** Stands for the device and folder of GRUB's `$prefix` while its script runs. */
const prefix = "(prefix)";

/** What scripts of grub-mkconfig ask GRUB about itself; all true since GRUB 2.02. */
const features = [
  "feature_200_final",
  "feature_all_video_module",
  "feature_default_font_path",
  "feature_menuentry_id",
  "feature_menuentry_options",
  "feature_nativedisk_cmd",
  "feature_platform_search_hint",
  "feature_timeout_style",
];

/**
 * The path of the grub.cfg that GRUB reads; undefined without GRUB.
 *
 * @throws RekernelError RK-PERMISSION (5) where this user may not read it
 */
export function findGrubConfig(files: BootFiles): string | undefined {
  // Older Fedora and Red Hat keep it on the EFI system partition; elsewhere that one only points to the real one.
  const vendors = ["boot/efi/EFI", "efi/EFI"].flatMap((folder) =>
    files.list(join(files.root, folder)).map((vendor) => join(folder, vendor)),
  );
  for (const folder of ["boot/grub", "boot/grub2", ...vendors]) {
    const path = join(files.root, folder, "grub.cfg");
    const deniedBefore = files.denied.length;
    if (files.isFile(path)) return path;
    if (files.denied.length > deniedBefore && folder.startsWith("boot/grub")) throw denied(path);
  }
  return undefined;
}

function denied(path: string): RekernelError {
  return new RekernelError("machineCannot", "RK-PERMISSION", `Cannot read ${path}: permission denied.`, {
    hint: "Only GRUB's configuration says what a reboot would start. Run the command as root.",
  });
}

/** @throws RekernelError RK-BOOT-CONFIG (1), RK-PERMISSION (5) */
export function readGrubMenu(files: BootFiles, path: string, notes: string[]): LoaderMenu {
  const folder = dirname(path);
  const text = files.read(path);
  if (text === undefined) throw denied(path);
  const environment = readEnvironment(files, join(folder, "grubenv"), notes);
  const partitions = [files.partitionOf(folder), files.root, join(files.root, "boot")];
  const locate = (name: string) =>
    name.startsWith(`${prefix}/`)
      ? files.find(name.slice(prefix.length), [folder])
      : files.find(withoutDevice(name), partitions);
  const menu = grubMenu(text, path, {
    variables: {
      ...Object.fromEntries(features.map((name) => [name, "y"])),
      prefix,
      config_directory: prefix,
      config_file: `${prefix}/grub.cfg`,
      grub_cpu: "x86_64",
      grub_platform: files.isFolder(join(files.root, "sys/firmware/efi")) ? "efi" : "pc",
    },
    environment,
    isThere: (name) => locate(name)?.isThere === true,
    read(name) {
      const found = locate(name);
      return found?.isThere === true ? files.read(found.path) : undefined;
    },
    snippets: () => fedoraSnippets(files, notes),
  });
  const picked = grubDefault(menu.entries, menu.default ?? "0");
  const kernels: BootKernel[] = [];
  const numbers = new Map<GrubEntry, number>();
  const add = (entry: GrubEntry, above: readonly GrubEntry[]) => {
    if (entry.children !== undefined) {
      for (const child of entry.children) add(child, [...above, entry]);
      return;
    }
    numbers.set(entry, kernels.length);
    kernels.push(kernelOf(files, entry, above, path, partitions));
  };
  for (const entry of menu.entries) add(entry, []);
  return {
    loader: "grub",
    kernels,
    chosen: picked === undefined ? undefined : numbers.get(picked.entry),
    reason: picked === undefined ? "GRUB's menu is empty." : reasonOf(menu, picked, environment, path),
  };
}

function readEnvironment(files: BootFiles, path: string, notes: string[]): Map<string, string> {
  try {
    const text = files.read(path);
    return text === undefined ? new Map() : parseGrubEnvironment(text, path);
  } catch (error) {
    if (!(error instanceof RekernelError)) throw error;
    notes.push(error.message);
    return new Map();
  }
}

function reasonOf(
  { default: wanted }: GrubMenu,
  { path, missing }: GrubDefault,
  environment: ReadonlyMap<string, string>,
  file: string,
): string {
  const number = path.join(">");
  if (wanted === undefined) return `GRUB takes entry ${number}: ${file} sets no default.`;
  const how =
    wanted !== "" && wanted === environment.get("next_entry")
      ? `grubenv's next_entry, for one boot, names “${wanted}”`
      : wanted !== "" && wanted === environment.get("saved_entry")
        ? `grubenv's saved_entry names “${wanted}”`
        : wanted === ""
          ? `${file} takes the saved entry, and none is saved`
          : `${file} sets the default “${wanted}”`;
  return missing
    ? `GRUB takes entry ${number}: ${how}${wanted === "" ? "" : ", which is not in its menu, and then it takes the first"}.`
    : `GRUB takes entry ${number}: ${how}.`;
}

/** A GRUB path without its device: `($root)/vmlinuz`, `(hd0,gpt2)/vmlinuz`. */
function withoutDevice(path: string): string {
  return path.replace(/^\([^)]*\)/, "");
}

function kernelOf(
  files: BootFiles,
  entry: GrubEntry,
  above: readonly GrubEntry[],
  file: string,
  partitions: readonly string[],
): BootKernel {
  const { kernel } = entry;
  const find = (path: string) => files.find(withoutDevice(path), partitions);
  const image = kernel && find(kernel.image);
  const initrds = (kernel?.initrds ?? []).map((path) => ({ path, found: find(path) }));
  const missing = initrds.find(({ found }) => found?.isThere !== true);
  return {
    source: "grub",
    id: [...above, entry].map(({ id }) => id).join(">"),
    title: [...above, entry].map(({ title }) => title).join(" > "),
    version: image && /^[^0-9]*-(\d.*)$/.exec(basename(image.path))?.[1],
    image: image?.path,
    initrds: initrds.flatMap(({ found }) => found?.path ?? []),
    commandLine: kernel?.commandLine,
    file,
    triesLeft: undefined,
    triesDone: undefined,
    problem:
      kernel === undefined
        ? "it starts no Linux kernel"
        : image?.isThere !== true
          ? `its kernel ${image?.path ?? kernel.image} is not there`
          : missing !== undefined
            ? `its initrd ${missing.found?.path ?? missing.path} is not there`
            : undefined,
  };
}

/** The entries that Fedora's command blscfg brings, in its order: by file name, as if that were a package's. */
function fedoraSnippets(files: BootFiles, notes: string[]): GrubSnippet[] {
  return readEntryFiles(files, join(files.root, "boot"), notes)
    .filter(({ text }) => text.linux !== undefined)
    .map(({ fileName, text }) => ({
      id: fileName.replace(/\.conf$/i, ""),
      title: text.title ?? text.linux!,
      image: text.linux!,
      initrds: text.initrds,
      options: text.options ?? "",
    }))
    .sort((a, b) => comparePackages(b.id, a.id));
}

/** NAME-VERSION-RELEASE, split at the last two dashes, each part in rpm's order. */
export function comparePackages(a: string, b: string): number {
  const left = packageParts(a);
  const right = packageParts(b);
  return (
    compareRpmVersions(left.name, right.name) ||
    compareRpmVersions(left.version, right.version) ||
    compareRpmVersions(left.release, right.release)
  );
}

function packageParts(id: string): { name: string; version: string; release: string } {
  const words = id.split("-");
  const release = words.length > 2 ? words.pop()! : "";
  const version = words.length > 1 ? words.pop()! : "";
  return { name: words.join("-"), version, release };
}
