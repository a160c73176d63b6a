/** UEFI firmware for the lab's machines: OVMF, from Debian's package `ovmf`. */
import { createPrivateKey } from "node:crypto";
import { constants } from "node:fs";
import { access, copyFile, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { RekernelError } from "../core/errors.ts";
import { writeError } from "../core/files.ts";
import { runToolOk } from "../core/tools.ts";

/**
 * What starts the kernel: SeaBIOS, UEFI, or UEFI that enforces Secure Boot with the key that the package
 * `ovmf` ships for tests in its PK, KEK and db.
 */
export type Firmware = "bios" | "uefi" | "uefi-secure-boot";

/** The two flash chips of a UEFI machine. */
export interface FirmwareFiles {
  code: string;
  /** This machine's own copy: what the guest writes into EFI variables stays until the machine ends. */
  variables: string;
  /** Only system management mode may write to the flash, which is what makes Secure Boot hold. */
  secure: boolean;
}

const images = {
  uefi: { code: "OVMF_CODE_4M.fd", variables: "OVMF_VARS_4M.fd" },
  "uefi-secure-boot": { code: "OVMF_CODE_4M.secboot.fd", variables: "OVMF_VARS_4M.snakeoil.fd" },
} as const;
const imageFolder = "/usr/share/OVMF";

/** The certificate in the firmware's db under `uefi-secure-boot`, as PEM. */
export const labCertificate = "/usr/share/ovmf/PkKek-1-snakeoil.pem";
const labKey = { path: "/usr/share/ovmf/PkKek-1-snakeoil.key", passphrase: "snakeoil" };

/**
 * Where the firmware of a machine is, and will be: {@link copyVariables} fills the second file.
 *
 * @param folder the machine's private folder
 * @throws RekernelError RK-TOOL-MISSING (5)
 */
export async function firmwareFiles(firmware: Firmware, folder: string): Promise<FirmwareFiles | undefined> {
  if (firmware === "bios") return undefined;
  const { code, variables } = images[firmware];
  const needed = [code, variables].map((name) => join(imageFolder, name));
  if (firmware === "uefi-secure-boot") needed.push(labCertificate, labKey.path);
  for (const path of needed)
    await access(path, constants.R_OK).catch((cause) => {
      throw new RekernelError("machineCannot", "RK-TOOL-MISSING", `This machine has no ${path}.`, {
        hint: "Install it: apt-get install ovmf",
        cause,
      });
    });
  return {
    code: join(imageFolder, code),
    variables: join(folder, "variables.fd"),
    secure: firmware === "uefi-secure-boot",
  };
}

/** Gives the machine EFI variables of its own, as the package ships them. */
export async function copyVariables(firmware: Firmware, files: FirmwareFiles): Promise<void> {
  if (firmware === "bios") return;
  await copyFile(join(imageFolder, images[firmware].variables), files.variables).catch((error) => {
    throw writeError(files.variables, error);
  });
}

/**
 * A copy of a kernel with one signature: that of the key in the lab's firmware. Signatures that it had are
 * taken off, because a kernel looks at the first one only.
 *
 * @param to path of the copy; its folder holds the key while it is needed
 * @throws RekernelError RK-TOOL-MISSING (5), RK-TOOL-FAILED, RK-DISK-FULL, RK-WRITE (1)
 */
export async function signForFirmware(image: string, to: string): Promise<void> {
  const key = `${to}.key`;
  try {
    await copyFile(image, to);
    const locked = { key: await readFile(labKey.path), passphrase: labKey.passphrase };
    const pem = createPrivateKey(locked).export({ type: "pkcs8", format: "pem" });
    await writeFile(key, pem, { mode: 0o600 });
  } catch (error) {
    throw writeError(to, error);
  }
  try {
    // It takes off one at a time, and fails when there is none.
    while ((await runToolOk("sbverify", ["--list", to])).stdout.includes("signature certificates"))
      await runToolOk("sbattach", ["--remove", to]);
    await runToolOk("sbsign", ["--key", key, "--cert", labCertificate, "--output", to, to]);
  } finally {
    await rm(key, { force: true });
  }
}
