/** Entries of the Boot Loader Specification (UAPI.1), and which of them systemd-boot starts. */
import { join } from "node:path";
import { RekernelError } from "../../core/errors.ts";
import {
  type BootEntryName,
  type BootEntryText,
  compareBootEntries,
  matchesPattern,
  parseBootEntry,
  parseBootEntryName,
  type SortedEntry,
} from "../../formats/boot-entry.ts";
import { readUki, ukiNames } from "../../formats/uki.ts";
import { readInputFile } from "../../kernel/input-file.ts";
import type { BootFiles } from "./boot-files.ts";
import type { BootKernel, LoaderMenu } from "./boot-kernel.ts";
import { loaderVariable } from "./loader-variables.ts";

/** Where the boot partition and the EFI system partition are mounted, by the specification. */
const folders = ["boot", "efi", "boot/efi"];

/** An entry with what the order depends on, and the name that loader.conf's patterns are matched with. */
interface SpecificationEntry extends SortedEntry {
  fileName: string;
  kernel: BootKernel;
}

/** Folders that hold entries, or systemd-boot itself. */
export function bootFolders(files: BootFiles): string[] {
  return folders
    .map((folder) => join(files.root, folder))
    .filter((folder) =>
      ["loader/entries", "EFI/Linux", "EFI/systemd"].some((inner) => files.isFolder(join(folder, inner))),
    );
}

/** A type 1 entry as it is on the disk. */
export interface EntryFile {
  /** The whole path. */
  path: string;
  fileName: string;
  text: BootEntryText;
}

/** All `loader/entries/*.conf` of one boot folder that start a Linux of this architecture. */
export function readEntryFiles(files: BootFiles, folder: string, notes: string[]): EntryFile[] {
  const entries = join(folder, "loader/entries");
  const found: EntryFile[] = [];
  for (const fileName of files.list(entries)) {
    if (parseBootEntryName(fileName, "conf") === undefined) continue;
    const path = join(entries, fileName);
    try {
      const content = files.read(path);
      if (content === undefined) continue;
      const text = parseBootEntry(content);
      const skipped = content.includes("\0") ? "it holds NUL bytes" : reasonToSkip(text);
      if (skipped === undefined) found.push({ path, fileName, text });
      else notes.push(`${path} is left out: ${skipped}.`);
    } catch (error) {
      notes.push(`${path} is left out: ${error instanceof Error ? error.message : error}`);
    }
  }
  return found;
}

function reasonToSkip({ architecture, linux, efi, uki }: BootEntryText): string | undefined {
  if (architecture !== undefined && architecture.toLowerCase() !== "x64")
    return `it is for the architecture ${architecture}`;
  return (linux ?? efi ?? uki) === undefined ? "it names no kernel" : undefined;
}

/** What the entries of all boot folders offer, in the order of the specification. */
export async function specificationMenu(files: BootFiles, notes: string[]): Promise<LoaderMenu> {
  const boot = bootFolders(files);
  const entries: SpecificationEntry[] = [];
  for (const folder of boot) {
    for (const file of readEntryFiles(files, folder, notes)) entries.push(entryOf(files, folder, file));
    entries.push(...(await unifiedImages(files, folder, notes)));
  }
  entries.sort(compareBootEntries);
  const isSystemd = hasSystemdBoot(files, boot);
  const picked = isSystemd
    ? pickAsSystemdBoot(files, boot, entries)
    : { chosen: 0, reason: "It comes first in the order of the Boot Loader Specification." };
  return {
    loader: isSystemd ? "systemd-boot" : "specification",
    kernels: entries.map(({ kernel }) => kernel),
    chosen: entries.length === 0 ? undefined : picked.chosen,
    reason: picked.reason,
  };
}

/** Whether systemd-boot is installed. */
export function hasSystemdBoot(files: BootFiles, boot: readonly string[]): boolean {
  return boot.some(
    (folder) =>
      files.isFile(join(folder, "EFI/systemd/systemd-bootx64.efi")) ||
      files.isFile(join(folder, "loader/loader.conf")),
  );
}

/** Source: src/boot/boot.c of systemd, config_select_default_entry; loader.conf(5). */
function pickAsSystemdBoot(
  files: BootFiles,
  boot: readonly string[],
  entries: readonly SpecificationEntry[],
): { chosen: number; reason: string } {
  const index = (pattern: string) =>
    entries.findIndex((entry) =>
      [entry.fileName, entry.id, `${entry.id}.${entry.fileName.split(".").at(-1)}`].some((name) =>
        matchesPattern(pattern, name),
      ),
    );
  const saved = loaderVariable(files, "LoaderEntryLastBooted");
  const wishes: [string | undefined, string][] = [
    [loaderVariable(files, "LoaderEntryOneShot"), "for one boot, by the EFI variable LoaderEntryOneShot"],
    [loaderVariable(files, "LoaderEntryDefault"), "by the EFI variable LoaderEntryDefault"],
    ...boot.map((folder): [string | undefined, string] => [
      defaultOfLoaderConf(files, folder),
      `by “default” in ${join(folder, "loader/loader.conf")}`,
    ]),
  ];
  let missed = "";
  for (const [wish, how] of wishes) {
    const pattern = wish === "@saved" ? saved : wish;
    if (pattern === undefined || pattern === "") continue;
    const chosen = index(pattern);
    if (chosen >= 0)
      return {
        chosen,
        reason: `systemd-boot is told to take it ${how}${wish === "@saved" ? ", which takes the last one again" : ""}.`,
      };
    missed ||= ` (“${pattern}”, which is wished ${how}, names no entry of Linux)`;
  }
  const first = entries[0]?.triesLeft === 0 ? "It comes first, although it counts as bad" : "It comes first";
  return { chosen: 0, reason: `${first} in the order of the Boot Loader Specification${missed}.` };
}

function defaultOfLoaderConf(files: BootFiles, folder: string): string | undefined {
  return /^\s*default\s+(\S.*?)\s*$/m.exec(files.read(join(folder, "loader/loader.conf")) ?? "")?.[1];
}

function entryOf(files: BootFiles, folder: string, { path, fileName, text }: EntryFile): SpecificationEntry {
  const name = parseBootEntryName(fileName, "conf")!;
  const partitions = [files.partitionOf(folder), folder];
  const wanted = text.linux ?? text.uki;
  const image = wanted === undefined ? undefined : files.find(wanted, partitions);
  const initrds = text.initrds.map((initrd) => ({ initrd, found: files.find(initrd, partitions) }));
  const missing = initrds.find(({ found }) => found?.isThere !== true);
  const problem =
    wanted === undefined
      ? "it starts an EFI program, not a kernel"
      : image?.isThere !== true
        ? `its kernel ${image?.path ?? wanted} is not there`
        : missing !== undefined
          ? `its initrd ${missing.found?.path ?? missing.initrd} is not there`
          : undefined;
  return {
    ...name,
    fileName,
    sortKey: text.sortKey,
    machineId: text.machineId,
    version: text.version,
    kernel: {
      source: text.linux === undefined && text.uki !== undefined ? "unified-image" : "entry",
      id: name.id,
      title: text.title ?? name.id,
      version: text.version,
      image: image?.path,
      initrds: initrds.flatMap(({ found }) => found?.path ?? []),
      commandLine: text.linux === undefined ? text.options : (text.options ?? ""),
      file: path,
      triesLeft: name.triesLeft,
      triesDone: name.triesDone,
      problem,
    },
  };
}

/** Type 2 entries; a file that is no unified image is left out with a note. */
async function unifiedImages(
  files: BootFiles,
  folder: string,
  notes: string[],
): Promise<SpecificationEntry[]> {
  const found: SpecificationEntry[] = [];
  for (const fileName of files.list(join(folder, "EFI/Linux"))) {
    const name = parseBootEntryName(fileName, "efi");
    const path = join(folder, "EFI/Linux", fileName);
    if (name === undefined || !files.isFile(path)) continue;
    try {
      const [profile] = readUki(await readInputFile(path, "unified kernel image"), path).profiles;
      const { title, version, sortKey } = ukiNames(profile!);
      found.push({ ...name, fileName, sortKey, version, kernel: unifiedKernel(path, name, title, version) });
    } catch (error) {
      if (!(error instanceof RekernelError)) throw error;
      if (error.code === "RK-PERMISSION") files.denied.push(path);
      notes.push(`${path} is left out: ${error.message}`);
    }
  }
  return found;
}

function unifiedKernel(
  path: string,
  { id, triesLeft, triesDone }: BootEntryName,
  title: string | undefined,
  version: string | undefined,
): BootKernel {
  return {
    source: "unified-image",
    id,
    title: title ?? id,
    version,
    image: path,
    initrds: [],
    commandLine: undefined,
    file: path,
    triesLeft,
    triesDone,
    problem: undefined,
  };
}
