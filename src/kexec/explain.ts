/** Why the kernel refused an image, in words that say what to do. */
import { type ErrorKind, RekernelError } from "../core/errors.ts";
import type { KexecState } from "../host/kexec.ts";
import type { Lockdown } from "../host/lockdown.ts";
import type { SyscallError } from "../host/syscall.ts";
import type { SignatureVerdict } from "./signature/verify.ts";

/** What the machine says about itself, to tell apart the causes of one error number. */
export interface KexecCircumstances {
  state: KexecState;
  lockdown: Lockdown;
  /** What was found about the image's signature, where there was one to verify. */
  signature?: SignatureVerdict | undefined;
}

interface Explanation {
  kind: ErrorKind;
  code: string;
  reason: string;
  hint: string;
}

export const signHint =
  "The image must be signed by a key that this kernel trusts: its distribution's own, or one in the firmware's " +
  "db or in the machine owner's list (mokutil --import). Under UEFI Secure Boot use the vmlinuz of a signed " +
  "kernel package. An image may carry one signature only.";

const explanations: Readonly<Record<string, Explanation>> = {
  ENOKEY: {
    kind: "refused",
    code: "RK-KEXEC-SIGNATURE",
    reason: "the image is signed with a key that this kernel does not know",
    hint: signHint,
  },
  EKEYREJECTED: {
    kind: "refused",
    code: "RK-KEXEC-SIGNATURE",
    reason:
      "the image's signature does not fit its content or its signer, or is revoked, and this kernel wants a good one",
    hint: signHint,
  },
  ENODATA: {
    kind: "refused",
    code: "RK-KEXEC-SIGNATURE",
    reason: "the image is not signed, and this kernel wants a signature",
    hint: signHint,
  },
  EACCES: {
    kind: "refused",
    code: "RK-KEXEC-SIGNATURE",
    reason: "the policy of the kernel's integrity measurement (IMA) forbids it",
    hint: "That policy wants a signature in the extended attribute security.ima of the image's file.",
  },
  EBADMSG: {
    kind: "refused",
    code: "RK-KEXEC-SIGNATURE",
    reason: "the image's signature is damaged",
    hint: signHint,
  },
  ELIBBAD: {
    kind: "failed",
    code: "RK-BAD-IMAGE",
    reason: "the image's PE header, where its signature would be, is damaged",
    hint: "Fetch the image again.",
  },
  ENOPKG: {
    kind: "machineCannot",
    code: "RK-KEXEC-SIGNATURE",
    reason: "this kernel lacks the cipher that the image is signed with",
    hint: "Load the kernel's module for it, or sign the image with RSA and SHA-256.",
  },
  EINVAL: {
    kind: "failed",
    code: "RK-KEXEC-REJECTED",
    reason: "the kernel cannot use this image with this command line",
    hint: "See the kernel's log (dmesg) for lines that begin with kexec.",
  },
  ENOEXEC: {
    kind: "failed",
    code: "RK-BAD-IMAGE",
    reason: "the kernel does not know this kind of image",
    hint: "Give an x86-64 bzImage (vmlinuz), whole and undamaged.",
  },
  EBUSY: {
    kind: "failed",
    code: "RK-BUSY",
    reason: "another kexec is being loaded or executed at this moment",
    hint: "Try again in a moment.",
  },
  EADDRNOTAVAIL: {
    kind: "failed",
    code: "RK-KEXEC-NO-ROOM",
    reason: "there is no free range of memory that is large enough, or no memory reserved for a crash kernel",
    hint: "Use a smaller initrd; a crash kernel needs crashkernel= on the running kernel's command line.",
  },
  ENOMEM: {
    kind: "failed",
    code: "RK-NO-MEMORY",
    reason: "the kernel has no memory for image and initrd",
    hint: "Free some memory, or use a smaller initrd.",
  },
  EFBIG: {
    kind: "failed",
    code: "RK-BAD-IMAGE",
    reason: "a file is too large",
    hint: "Use a smaller image or initrd.",
  },
  ENOSYS: {
    kind: "machineCannot",
    code: "RK-NO-KEXEC",
    reason: "this kernel has no kexec_file_load",
    hint: "It needs CONFIG_KEXEC_FILE=y; it may have the other call: --syscall kexec_load",
  },
};

/** What the same numbers mean of kexec_load, which looks at nothing but the segments' addresses. */
const ofSegments: Readonly<Record<string, Explanation>> = {
  EACCES: {
    kind: "refused",
    code: "RK-KEXEC-SIGNATURE",
    reason: "this kernel's integrity policy (IMA) forbids kexec_load, which verifies no signature",
    hint: `Use --syscall kexec_file_load. ${signHint}`,
  },
  EADDRNOTAVAIL: {
    kind: "failed",
    code: "RK-KEXEC-NO-ROOM",
    reason: "the kernel does not take the addresses of its segments",
    hint: "See what lies where with --dry-run; with --syscall kexec_file_load the kernel finds the room itself.",
  },
  EINVAL: {
    kind: "failed",
    code: "RK-KEXEC-REJECTED",
    reason: "the kernel does not take these segments; all of them together may take half of its RAM at most",
    hint: "Use a smaller initrd, or --syscall kexec_file_load.",
  },
  ENOSYS: {
    kind: "machineCannot",
    code: "RK-NO-KEXEC",
    reason: "this kernel has no kexec_load",
    hint: "It needs CONFIG_KEXEC=y; for a bzImage use --syscall kexec_file_load.",
  },
};

/**
 * Turns a failed kexec_file_load or kexec_load into the error a user can act on.
 *
 * @param attempt completes "Cannot …": `load /boot/vmlinuz`
 */
export function explainKexecFailure(
  attempt: string,
  error: SyscallError,
  circumstances: KexecCircumstances,
  kernelLog: readonly string[] = [],
): RekernelError {
  const { kind, code, reason, hint } = explain(error, circumstances);
  return new RekernelError(kind, code, `Cannot ${attempt}: ${reason} (${error.code}).`, {
    hint,
    ...(kernelLog.length === 0 ? {} : { details: ["The kernel says:", ...kernelLog].join("\n") }),
    cause: error,
  });
}

function explain({ call, code }: SyscallError, circumstances: KexecCircumstances): Explanation {
  const bySegments = call === "kexec_load";
  const general =
    code === "EPERM"
      ? explainPermission(circumstances, bySegments)
      : ((bySegments ? ofSegments[code] : undefined) ??
        explanations[code] ?? {
          kind: "failed",
          code: "RK-KEXEC-REJECTED",
          reason: "the kernel refused it",
          hint: "See the kernel's log: dmesg",
        });
  const { signature } = circumstances;
  if (general.code !== "RK-KEXEC-SIGNATURE" || signature?.outcome !== "invalid") return general;
  // Under lockdown the kernel says EPERM whatever its verification found.
  if (code !== "EPERM" && code !== signature.errno) return general;
  const found = signature.reason.replace(/\.$/, "");
  const reason = `${found.charAt(0).toLowerCase()}${found.slice(1)}`;
  return {
    ...general,
    reason: code === "EPERM" ? `${general.reason}: ${reason}` : reason,
  };
}

/**
 * Why nothing can be loaded until the next boot; undefined where it can.
 * Source: kernel/kexec_core.c kexec_load_permitted.
 */
export function loadingOff(state: KexecState): Explanation | undefined {
  if (state.loadDisabled === true)
    return {
      kind: "machineCannot",
      code: "RK-KEXEC-DISABLED",
      reason: "kexec is switched off until the next boot",
      hint: "kernel.kexec_load_disabled is 1, which only a reboot takes back.",
    };
  if (state.loadLimitReboot === 0)
    return {
      kind: "machineCannot",
      code: "RK-KEXEC-DISABLED",
      reason: "no more loads are allowed until the next boot",
      hint: "kernel.kexec_load_limit_reboot has come down to 0, which only a reboot takes back. Unloading counts, too.",
    };
  return undefined;
}

/** Source: as above; kernel/kexec_file.c kimage_validate_signature. */
function explainPermission({ state, lockdown }: KexecCircumstances, bySegments: boolean): Explanation {
  const off = loadingOff(state);
  if (off !== undefined) return off;
  if (bySegments && (lockdown === "integrity" || lockdown === "confidentiality"))
    return {
      kind: "refused",
      code: "RK-KEXEC-SIGNATURE",
      reason: `this kernel is locked down (${lockdown}) and forbids kexec_load, which verifies no signature`,
      hint: `Use --syscall kexec_file_load. ${signHint}`,
    };
  if (lockdown === "integrity" || lockdown === "confidentiality")
    return {
      kind: "refused",
      code: "RK-KEXEC-SIGNATURE",
      reason: `this kernel is locked down (${lockdown}) and does not trust the image`,
      hint: signHint,
    };
  return {
    kind: "machineCannot",
    code: "RK-NOT-ROOT",
    reason: "this process may not use kexec",
    hint: "It needs CAP_SYS_BOOT: run it as root on the machine itself, not in a container.",
  };
}
