import { deviceOf, stackOf } from "../../host/block-devices.ts";
import { type Check, rootMount } from "./finding.ts";

/** A root whose key is lost with this kernel's memory. */
export const encryptedRoot: Check = {
  name: "encrypted-root",
  looksAt: "the device of the root file system",
  async find({ mounts, blockDevices }) {
    const [root, all] = [rootMount(await mounts), await blockDevices];
    const device = root === undefined ? undefined : deviceOf(root, all);
    if (device === undefined) return [];
    const locked = stackOf(device, all).filter(({ mapperUuid }) => mapperUuid?.startsWith("CRYPT-"));
    if (locked.length === 0) return [];
    return [
      {
        severity: "warns",
        subject: "The root file system is encrypted",
        items: locked.map(
          ({ name, mapperName, mapperUuid, below }) =>
            `${mapperName ?? name} (${mapperUuid!.split("-")[1]} on ${below.join(", ") || "?"})`,
        ),
        why: "Its key is not handed on: unless it unlocks by itself (TPM, key file, network), someone has to type the passphrase before the machine is back.",
        advice:
          "Be at the console, or give the next initrd something that unlocks it: a key file with kexec load --overlay, a TPM (systemd-cryptenroll), Clevis.",
      },
    ];
  },
};
