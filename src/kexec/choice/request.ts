/** From the choice to what kexec loads. */
import { RekernelError } from "../../core/errors.ts";
import type { KexecRequest } from "../plan.ts";
import type { KernelChoice } from "./boot-kernel.ts";

/** What the user wants otherwise than the boot loader says. */
export type ChoiceChanges = Partial<Omit<KexecRequest, "image" | "writtenBy">>;

/**
 * The request that loads what a reboot would start.
 *
 * @throws RekernelError RK-NO-KERNEL (1) where a reboot would start something that is no kernel, or not there
 */
export function requestOfChoice(choice: KernelChoice, changes: ChoiceChanges = {}): KexecRequest {
  const kernel = choice.kernels[choice.chosen]!;
  if (kernel.image === undefined || kernel.problem !== undefined)
    throw new RekernelError(
      "failed",
      "RK-NO-KERNEL",
      // Titles are others' words, and this goes to a terminal.
      `A reboot would start “${kernel.title}”, but kexec cannot load it: ${kernel.problem}.`.replace(
        /\p{Cc}/gu,
        "\ufffd",
      ),
      {
        hint: "See the others with rekernel kexec list, and name one: rekernel kexec load VMLINUZ --initrd INITRD",
      },
    );
  const givesLine = changes.commandLine !== undefined || changes.reuse === true;
  return {
    ...changes,
    image: kernel.image,
    initrds: changes.initrds ?? kernel.initrds,
    ...(givesLine
      ? {}
      : {
          commandLine: kernel.commandLine,
          writtenBy: kernel.source === "folder" ? "running" : "boot-loader",
        }),
  };
}
