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

/** GRUB writes into the file's blocks: its size stays what it is. */
const blockBytes = 1024;

/**
 * The text of a grubenv file with one variable set or, without a value, taken out. All else stays as it is.
 *
 * @param name the file, for messages
 * @throws RekernelError RK-BOOT-CONFIG (1) where the file is no environment block, or has no room
 */
export function setGrubVariable(
  text: string,
  name: string,
  variable: string,
  value: string | undefined,
): string {
  parseGrubEnvironment(text, name);
  const size = Math.max(blockBytes, text.length);
  const lines = text
    .slice(signature.length)
    .replace(/#+\s*$/, "")
    .matchAll(/(?:[^\\\n]|\\[\s\S])*\n/g);
  const kept = [...lines].map(([line]) => line).filter((line) => !line.startsWith(`${variable}=`));
  if (value !== undefined) kept.push(`${variable}=${value.replace(/[\\\n]/g, "\\$&")}\n`);
  const content = `${signature}${kept.join("")}`;
  if (content.length > size)
    throw new RekernelError("failed", "RK-BOOT-CONFIG", `${name} has no room for ${variable}.`, {
      hint: "Take out what is not needed: grub-editenv - unset NAME",
    });
  return content.padEnd(size, "#");
}
