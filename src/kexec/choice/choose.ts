/** Which kernel a reboot would start: by the boot loader's own configuration. */
import { join } from "node:path";
import { RekernelError } from "../../core/errors.ts";
import { BootFiles } from "./boot-files.ts";
import type { KernelChoice, LoaderMenu } from "./boot-kernel.ts";
import { findGrubConfig, readGrubMenu } from "./grub.ts";
import { loaderVariable } from "./loader-variables.ts";
import { plainKernels } from "./plain.ts";
import { bootFolders, hasSystemdBoot, specificationMenu } from "./specification.ts";

export interface ChoiceOptions {
  /** Root of the system whose kernels are meant; this one's without it. */
  root?: string | undefined;
}

/**
 * Lists what this machine could boot, and what a reboot would: by GRUB's configuration, by the entries of the Boot
 * Loader Specification as systemd-boot takes them, or else the newest kernel of /boot. Touches nothing.
 *
 * @throws RekernelError RK-NO-KERNEL, RK-BOOT-CONFIG, RK-FILE (1), RK-PERMISSION (5)
 */
export async function chooseKernel({ root = "/" }: ChoiceOptions = {}): Promise<KernelChoice> {
  const files = new BootFiles(root);
  const notes: string[] = [];
  const grub = grubUnlessOther(files, notes);
  const specification = await specificationMenu(files, grub === undefined ? notes : []);
  const plain = await plainKernels(files);
  const menu = [grub, specification].find((candidate) => candidate?.chosen !== undefined) ?? {
    loader: "none" as const,
    kernels: plain,
    chosen: plain.length === 0 ? undefined : 0,
    reason: "No boot loader's configuration says what to boot, and this is the newest kernel of /boot.",
  };
  // What cannot be read may hold the configuration that counts.
  const [unread] = files.denied;
  if (menu.loader !== "grub" && unread !== undefined)
    throw new RekernelError("machineCannot", "RK-PERMISSION", `Cannot read ${unread}: permission denied.`, {
      hint: "What a reboot would start may stand there. Run the command as root.",
    });
  if (menu.chosen === undefined)
    throw new RekernelError("failed", "RK-NO-KERNEL", `No kernel to boot was found below ${files.root}.`, {
      hint: "Looked for GRUB's grub.cfg, loader/entries and EFI/Linux in /boot, /efi and /boot/efi, and /boot/vmlinuz-*. If the boot partition is not mounted, mount it; or name a kernel: rekernel kexec load VMLINUZ",
      ...(notes.length === 0 ? {} : { details: notes.join("\n") }),
    });
  const { loader, chosen, reason } = menu;
  const kernels = [...menu.kernels];
  const images = new Set(kernels.map(({ image }) => image));
  for (const kernel of [...specification.kernels, ...plain]) {
    if (kernels.includes(kernel) || images.has(kernel.image)) continue;
    kernels.push(kernel);
    images.add(kernel.image);
  }
  return { loader, kernels, chosen, reason, notes };
}

/** GRUB's menu, where GRUB is what the firmware starts. */
function grubUnlessOther(files: BootFiles, notes: string[]): LoaderMenu | undefined {
  const last = loaderVariable(files, "LoaderInfo");
  if (last?.startsWith("systemd-boot")) return undefined;
  const path = findGrubConfig(files);
  if (path === undefined) return undefined;
  if (last === undefined && hasSystemdBoot(files, bootFolders(files)) && hasEfi(files))
    notes.push(
      "Both GRUB and systemd-boot are installed; it is taken for granted that the firmware starts GRUB.",
    );
  try {
    const menu = readGrubMenu(files, path, notes);
    if (menu.chosen === undefined) notes.push(`${path} makes an empty menu.`);
    return menu;
  } catch (error) {
    if (!(error instanceof RekernelError) || error.code === "RK-PERMISSION") throw error;
    notes.push(error.message);
    return undefined;
  }
}

function hasEfi(files: BootFiles): boolean {
  return files.isFolder(join(files.root, "sys/firmware/efi"));
}
