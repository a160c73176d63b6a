/** Telling the boot loader to start the old kernel at the next boot through the firmware. */
import { open } from "node:fs/promises";
import { dirname, join } from "node:path";
import { RekernelError } from "../../core/errors.ts";
import { runTool } from "../../core/tools.ts";
import { parseGrubEnvironment, setGrubVariable } from "../../formats/grub/environment.ts";
import { BootFiles } from "../choice/boot-files.ts";
import type { BootKernel, KernelChoice } from "../choice/boot-kernel.ts";
import { chooseKernel } from "../choice/choose.ts";
import { findGrubConfig } from "../choice/grub.ts";
import { loaderVariable } from "../choice/loader-variables.ts";
import type { LoaderChange } from "./record.ts";

export interface BootOnce {
  change: LoaderChange | undefined;
  /** Why the boot loader could not be told, as a sentence. */
  problem: string | undefined;
}

/**
 * Sets the boot loader's one-shot default, and asks the same rules that choose a kernel whether it will be obeyed;
 * where it will not, it is taken back.
 *
 * @param root of the system, for tests
 */
export async function setBootOnce(choice: KernelChoice, entry: BootKernel, root = "/"): Promise<BootOnce> {
  const cannot = (problem: string): BootOnce => ({ change: undefined, problem });
  if (entry.source === "folder") return cannot("No boot loader's menu has the old kernel.");
  let change: LoaderChange;
  if (choice.loader === "grub") {
    const config = findGrubConfig(new BootFiles(root));
    if (config === undefined) return cannot("GRUB's configuration was not found.");
    const file = join(dirname(config), "grubenv");
    try {
      change = { kind: "grub", file, entry: entry.id, ...(await editGrub(file, entry.id)) };
    } catch (error) {
      if (error instanceof RekernelError) return cannot(error.message);
      return cannot(`${file} cannot be written: ${error instanceof Error ? error.message : error}.`);
    }
  } else if (choice.loader === "systemd-boot") {
    const previous = loaderVariable(new BootFiles(root), "LoaderEntryOneShot");
    const { exitCode, stderr } = await runTool("bootctl", ["set-oneshot", entry.id]);
    if (exitCode !== 0) return cannot(`bootctl cannot set the entry of the next boot: ${stderr.trim()}`);
    change = { kind: "systemd-boot", entry: entry.id, ...(previous === undefined ? {} : { previous }) };
  } else return cannot("No boot loader was found that takes an entry for one boot.");
  const now = await chooseKernel({ root });
  if (now.kernels[now.chosen]?.image === entry.image) return { change, problem: undefined };
  await clearBootOnce(change);
  return cannot("The boot loader's configuration has no entry for one boot (next_entry).");
}

/** Puts back what stood there before. Nothing is changed where something else was set meanwhile. */
export async function clearBootOnce(change: LoaderChange): Promise<void> {
  if (change.kind === "grub") {
    await editGrub(change.file, change.previous, change.entry);
    return;
  }
  const current = loaderVariable(new BootFiles("/"), "LoaderEntryOneShot");
  if (current === change.entry) await runTool("bootctl", ["set-oneshot", change.previous ?? ""]);
}

/** @param onlyIf the value that must stand there for anything to be changed */
async function editGrub(
  file: string,
  value: string | undefined,
  onlyIf?: string,
): Promise<{ previous?: string }> {
  // In place: GRUB finds the file by its blocks, and a new one could lie where GRUB cannot write.
  const handle = await open(file, "r+").catch((cause: unknown) => {
    throw new RekernelError("failed", "RK-BOOT-CONFIG", `GRUB has no environment block ${file}.`, { cause });
  });
  try {
    const text = await handle.readFile("latin1");
    const previous = parseGrubEnvironment(text, file).get("next_entry");
    if (onlyIf === undefined || previous === onlyIf) {
      await handle.write(
        Buffer.from(setGrubVariable(text, file, "next_entry", value), "latin1"),
        0,
        undefined,
        0,
      );
      await handle.sync();
    }
    return previous === undefined || previous === "" ? {} : { previous };
  } finally {
    await handle.close();
  }
}
