/** Whether a bzImage can be unpacked here, or has to unpack itself after the jump. Pure. */
import type { BzImageHeader } from "../../formats/bzimage.ts";
import type { Processor } from "../../host/processor.ts";
import { earlyWords } from "../command-line.ts";

/**
 * Words by which the code in front of the kernel decides where it may lie: it keeps off ranges that they name,
 * and off whole gigabytes (arch/x86/boot/compressed/kaslr.c handle_mem_options).
 */
const placing = /^(mem|memmap|efi_fake_mem|hugepages|movable_node)(=|$)/;

/**
 * What that code does for the kernel besides unpacking it, and rekernel does not.
 *
 * Source: arch/x86/boot/compressed/head_64.S, misc.c, kaslr.c, pgtable_64.c, sev.c, mem.c of Linux 6.1 and 6.12.
 *
 * @param running the running kernel's command line
 * @returns the reason why the image must unpack itself, as the end of a sentence; undefined where it need not
 */
export function mustUnpackItself(
  header: BzImageHeader,
  commandLine: string,
  processor: Processor,
  running: string,
): string | undefined {
  const { xloadflags, relocatable } = header;
  const words = earlyWords(commandLine);
  if (header.protocol < 0x020c || !xloadflags.kernel64) return "it has no 64-bit entry";
  if (!relocatable) return "it cannot be moved";
  if (processor.confidential)
    return "this is a confidential virtual machine (SEV, TDX), whose memory it has to accept first";
  if (words.includes("mem_encrypt=on")) return "mem_encrypt=on is for the code that unpacks it";
  const word = words.find((candidate) => placing.test(candidate));
  if (word !== undefined) return `${word} says where it may lie, which it works out by itself`;
  if (processor.fiveLevelPaging && (!xloadflags.fiveLevelEnabled || words.includes("no5lvl")))
    return "it has to switch from 5-level paging back to 4 levels";
  if (!processor.fiveLevelPaging && earlyWords(running).includes("no5lvl") && !words.includes("no5lvl"))
    return "it may switch to 5-level paging, which the running kernel was told not to use (no5lvl)";
  return undefined;
}
