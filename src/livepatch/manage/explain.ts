/** Why the kernel refused a module, in words that say what to do. */
import { type ErrorKind, RekernelError } from "../../core/errors.ts";
import type { SyscallError } from "../../host/syscall.ts";

interface Explanation {
  kind: ErrorKind;
  code: string;
  reason: string;
  hint: string;
}

const signatureHint =
  "Sign the patch with a key that the kernel trusts (scripts/sign-file of its headers, with a key in the " +
  "machine owner's list: mokutil --import), or load it where signatures are not required.";

const explanations: Readonly<Record<string, Explanation>> = {
  EPERM: {
    kind: "machineCannot",
    code: "RK-MODULE-NOT-PERMITTED",
    reason: "this kernel does not permit it",
    hint: "kernel.modules_disabled=1, or lockdown with an unsigned module: see /proc/sys/kernel/modules_disabled and /sys/kernel/security/lockdown.",
  },
  ENOKEY: {
    kind: "machineCannot",
    code: "RK-MODULE-SIGNATURE",
    reason: "this kernel wants a signature, and the patch has none from a key that it knows",
    hint: signatureHint,
  },
  EKEYREJECTED: {
    kind: "machineCannot",
    code: "RK-MODULE-SIGNATURE",
    reason: "the patch's signature does not hold",
    hint: signatureHint,
  },
  ENOEXEC: {
    kind: "failed",
    code: "RK-MODULE-REJECTED",
    reason: "the kernel cannot use this module file",
    hint: "It was built for another kernel, or is damaged: build it again for the running kernel.",
  },
  EINVAL: {
    kind: "failed",
    code: "RK-MODULE-REJECTED",
    reason: "the kernel found the patch not fit for itself",
    hint: "A function or symbol that the patch names is not in the running kernel as it expects: build it again for exactly this kernel.",
  },
  ENOENT: {
    kind: "failed",
    code: "RK-MODULE-REJECTED",
    reason: "the patch uses a symbol that the running kernel does not have",
    hint: "Load the modules that the patch depends on, or build it again for exactly this kernel.",
  },
  ENODEV: {
    kind: "machineCannot",
    code: "RK-NO-LIVEPATCH",
    reason: "live patching did not initialise in this kernel",
    hint: "See the kernel's log for livepatch and ftrace.",
  },
  EEXIST: {
    kind: "refused",
    code: "RK-NAME-TAKEN",
    reason: "a module of that name is already loaded",
    hint: "See: rekernel patch list",
  },
  EBUSY: {
    kind: "failed",
    code: "RK-BUSY",
    reason: "another live patch is in transition, or a module of that name is on its way",
    hint: "See who holds it up: rekernel patch status. Then try again.",
  },
  ENOMEM: {
    kind: "failed",
    code: "RK-NO-MEMORY",
    reason: "the kernel has no memory for it",
    hint: "Free some memory and try again.",
  },
  ENOSYS: {
    kind: "machineCannot",
    code: "RK-NO-MODULES",
    reason: "this kernel cannot load modules",
    hint: "It needs CONFIG_MODULES=y and CONFIG_LIVEPATCH=y.",
  },
};

/** What the log tells apart where the error number does not (kernel/livepatch/core.c). */
const explanationsOfLog: readonly (Explanation & { line: RegExp })[] = [
  {
    line: /is not compatible with the already installed livepatches/,
    kind: "refused",
    code: "RK-STATE-INCOMPATIBLE",
    reason:
      "a live patch that is loaded declares a state of the system that this one knows only in an older version, or would replace without knowing it",
    hint: "Load a patch that declares that state in the same version or a newer one (REKERNEL_STATE), or take the loaded one back first: rekernel patch list",
  },
  {
    line: /pre-patch callback failed for object/,
    kind: "failed",
    code: "RK-CALLBACK-FAILED",
    reason: "the patch's own pre_patch callback returned an error",
    hint: "The machine is as it was before. What the callback checks is for the patch's author to say.",
  },
];

/** Turns a failed finit_module into the error a user can act on, with what the kernel logged meanwhile. */
export function explainLoadFailure(
  path: string,
  error: SyscallError,
  kernelLog: readonly string[],
): RekernelError {
  const told = explanationsOfLog.find(({ line }) => kernelLog.some((entry) => line.test(entry)));
  const { kind, code, reason, hint } = told ??
    explanations[error.code] ?? {
      kind: "failed" as const,
      code: "RK-MODULE-REJECTED",
      reason: "the kernel refused it",
      hint: "See the kernel's log: dmesg",
    };
  return new RekernelError(kind, code, `Cannot load ${path}: ${reason} (${error.code}).`, {
    hint,
    ...(kernelLog.length === 0 ? {} : { details: ["The kernel says:", ...kernelLog].join("\n") }),
    cause: error,
  });
}
