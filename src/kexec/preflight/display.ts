import { readDisplays } from "../../host/displays.ts";
import type { Check } from "./finding.ts";

/** Platform drivers that draw into what the firmware set up (efifb, vesafb, simpledrm, efidrm, vesadrm). */
const firmwareDrivers = /^(simple|efi|vesa)-framebuffer$|^simpledrm$|^(efi|vesa)(drm|fb)$/;

/** Screens that stay black until the next kernel has their driver. */
export const display: Check = {
  name: "display",
  looksAt: "the display",
  async find({ host }) {
    const { cards, frameBuffers, consoleOnFrameBuffer, consoles } = await readDisplays(host);
    const native = cards.filter(({ driver }) => driver !== undefined && !firmwareDrivers.test(driver));
    if (native.length === 0) return [];
    const onScreen = consoles.some((name) => /^tty\d+$/.test(name)) || consoleOnFrameBuffer;
    const elsewhere = consoles.some((name) => !/^tty\d+$/.test(name));
    return [
      {
        severity: onScreen && !elsewhere ? "warns" : "notes",
        subject: `The screen goes black${onScreen && !elsewhere ? ", and the only console is on it" : ""}`,
        items: native.map(
          ({ name, driver }) =>
            `${name} (${driver}${frameBuffers.length > 0 ? `; frame buffer ${frameBuffers.join(", ")}` : ""})`,
        ),
        why: "The driver has set the screen its own way, so the next kernel shows nothing, not even a question for a passphrase, until it loads that driver.",
        advice:
          "Have the driver in the next initrd, or watch through a serial console (console=ttyS0) or the network.",
      },
    ];
  },
};
