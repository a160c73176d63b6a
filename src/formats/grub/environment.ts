/** GRUB's environment block (grubenv): variables that GRUB keeps from boot to boot. */
import { RekernelError } from "../../core/errors.ts";

const signature = "# GRUB Environment Block\n";

/**
 * The variables of a grubenv file. A backslash escapes the character after it; `#` fills the rest.
 *
 * @param name the file, for messages
 * @throws RekernelError RK-BOOT-CONFIG (1) where the file is no environment block
 */
export function parseGrubEnvironment(text: string, name: string): Map<string, string> {
  if (!text.startsWith(signature))
    throw new RekernelError("failed", "RK-BOOT-CONFIG", `${name} is not an environment block of GRUB.`, {
      hint: "Make it again: grub-editenv - create",
    });
  const variables = new Map<string, string>();
  for (const [, key, value] of text
    .slice(signature.length)
    .matchAll(/^([^\s#=][^=\n\\]*)=((?:[^\\\n]|\\[\s\S])*)$/gm))
    variables.set(key!, value!.replace(/\\([\s\S])/g, "$1"));
  return variables;
}
