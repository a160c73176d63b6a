/** Which of the two system calls loads a kernel, and why. */
import { RekernelError } from "../core/errors.ts";
import { type BzImageHeader, protocolText } from "../formats/bzimage.ts";
import { type ImageKind, kindNames } from "./loaders/kind.ts";
import { predictSegments } from "./signature/predict.ts";
import type { SignatureRules } from "./signature/rules.ts";

/**
 * `kexec_file_load`: the running kernel reads the files, verifies the signature and finds the room.
 * `kexec_load`: rekernel lays everything out, and the kernel only copies it.
 */
export type KexecMethod = "kexec_file_load" | "kexec_load";

/** What of a request matters for the choice. */
export interface MethodNeeds {
  wish: "auto" | KexecMethod;
  /** What the image is called in messages. */
  name: string;
  kind: ImageKind;
  /** Of a bzImage. */
  header: BzImageHeader | undefined;
  entry32Bit: boolean;
  /** The memory map is not this machine's. */
  givenMap: boolean;
  modules: boolean;
  /** The running kernel uses 5-level paging. */
  fiveLevelPaging: boolean;
  /** Of the next command line, with its NUL. */
  commandLineBytes: number;
  /** Entries in the firmware's memory map. */
  memoryRanges: number;
  /** What only kexec_file_load hands on, in a full sentence. */
  carried: string | undefined;
  /** Why the kernel is not unpacked before the jump, as the end of a sentence; undefined where it can be. */
  unpackObstacle: string | undefined;
}

/** MAX_ELFCOREHDR_STR_LEN: kept for a crash kernel's parameter, whatever is loaded (kexec-bzimage64.c). */
const keptOfCommandLine = 30;

/** E820_MAX_ENTRIES_ZEROPAGE: kexec_file_load passes on no more (kexec-bzimage64.c setup_e820_entries). */
const rangesByFile = 128;

export interface ChosenMethod {
  method: KexecMethod;
  /** A full sentence. */
  reason: string;
}

/**
 * Whether the running kernel will take it then is for {@link import("./signature/predict.ts").predictKexec}.
 *
 * @throws RekernelError for a wish for kexec_file_load that the image cannot fulfil: RK-KEXEC-VMLINUX,
 *   RK-IMAGE-TOO-OLD (4), RK-USAGE (2)
 */
export function chooseMethod(needs: MethodNeeds, rules: SignatureRules): ChosenMethod {
  const needsSegments = whySegments(needs);
  if (needs.wish === "kexec_file_load" && needsSegments !== undefined) throw needsSegments.refusal;
  if (needs.wish !== "auto") return { method: needs.wish, reason: "It was asked for." };
  if (needsSegments !== undefined) return { method: "kexec_load", reason: needsSegments.reason };
  if (rules.hasKexecFileLoad === false && rules.hasKexecLoad !== false)
    return { method: "kexec_load", reason: "The running kernel has no kexec_file_load." };
  const segments = predictSegments(rules);
  if (segments.outcome === "refused") return { method: "kexec_file_load", reason: segments.reason };
  if (rules.enforced === true)
    return {
      method: "kexec_file_load",
      reason: "The running kernel wants signed kernels only, and kexec_load verifies nothing.",
    };
  if (needs.carried !== undefined) return { method: "kexec_file_load", reason: needs.carried };
  const lost = lostRanges(needs.memoryRanges);
  if (lost !== undefined && rules.hasKexecLoad !== false) return { method: "kexec_load", reason: lost };
  const why =
    needs.unpackObstacle ??
    (rules.hasKexecLoad === false ? "the running kernel has no kexec_load" : undefined);
  // Where it is not known whether there is kexec_load, loading finds out and takes the other one.
  return why === undefined
    ? {
        method: "kexec_load",
        reason:
          "Unpacked and verified before the jump, the kernel is back sooner, and nothing here forbids it.",
      }
    : {
        method: "kexec_file_load",
        reason: `The running kernel verifies and places this image itself; it is not unpacked before the jump: ${why}.`,
      };
}

/** What the next kernel does not hear of when kexec_file_load starts it; undefined where that is nothing. */
export function lostRanges(memoryRanges: number): string | undefined {
  return memoryRanges <= rangesByFile
    ? undefined
    : `The firmware's memory map has ${memoryRanges} ranges, of which kexec_file_load passes on the first ${rangesByFile}.`;
}

/** What kexec_file_load cannot do for a request: why kexec_load it is, and the refusal where that was not wanted. */
function whySegments(needs: MethodNeeds): { reason: string; refusal: RekernelError } | undefined {
  const { kind, name, header } = needs;
  const usage = (reason: string) => ({
    reason,
    refusal: new RekernelError("usage", "RK-USAGE", reason, {
      hint: "Leave out --syscall, or say --syscall kexec_load.",
    }),
  });
  if (kind !== "bzimage") {
    const reason = `kexec_file_load starts nothing but bzImages on x86-64, and ${name} is a ${kindNames[kind]} image.`;
    return {
      reason,
      refusal: new RekernelError("refused", "RK-KEXEC-VMLINUX", reason, {
        hint: "Use --syscall kexec_load, or for Linux the vmlinuz of the same kernel; in a build tree it is arch/x86/boot/bzImage.",
      }),
    };
  }
  const lack = header && lackOfEntry(header, needs.fiveLevelPaging);
  if (lack !== undefined) {
    return {
      reason: `kexec_file_load cannot start this image: it ${lack}.`,
      refusal: new RekernelError(
        "refused",
        "RK-IMAGE-TOO-OLD",
        `${name} cannot be started by kexec_file_load: it ${lack}.`,
        { hint: "Use --syscall kexec_load, or a newer x86-64 kernel." },
      ),
    };
  }
  if (header !== undefined && needs.commandLineBytes > header.cmdlineSize - keptOfCommandLine) {
    const limit = header.cmdlineSize - keptOfCommandLine;
    const reason = `The command line takes ${needs.commandLineBytes} bytes, but with this image kexec_file_load accepts ${limit} at most.`;
    return {
      reason,
      refusal: new RekernelError("refused", "RK-COMMAND-LINE-TOO-LONG", reason, {
        hint: `Use --syscall kexec_load, with which it may take ${header.cmdlineSize}.`,
      }),
    };
  }
  if (needs.entry32Bit) return usage("kexec_file_load knows the 64-bit entry only.");
  if (needs.modules) return usage("kexec_file_load passes no modules.");
  if (needs.givenMap) return usage("By a given memory map only kexec_load can be planned.");
  return undefined;
}

/** Source: arch/x86/kernel/kexec-bzimage64.c bzImage64_probe. */
function lackOfEntry({ protocol, xloadflags }: BzImageHeader, fiveLevelPaging: boolean): string | undefined {
  if (protocol < 0x020c || !xloadflags.kernel64 || !xloadflags.canBeLoadedAbove4G)
    return `has no 64-bit entry that can be loaded anywhere (boot protocol ${protocolText(protocol)})`;
  return fiveLevelPaging && !xloadflags.fiveLevel
    ? "cannot be entered in 5-level paging, which the running kernel uses"
    : undefined;
}
