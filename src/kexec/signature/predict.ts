/** Whether the running kernel will take an image: said before it is asked. */
import type { KexecMethod } from "../method.ts";
import type { SignatureRules } from "./rules.ts";
import type { SignatureVerdict } from "./verify.ts";

export interface KexecPrediction {
  outcome: "accepted" | "refused" | "unknown";
  /** The error number that is expected: `ENOKEY`. */
  errno: string | undefined;
  /** A whole sentence. */
  reason: string;
}

const isLockedDown = ({ lockdown }: SignatureRules) =>
  lockdown === "integrity" || lockdown === "confidentiality";
const refused = (errno: string, reason: string): KexecPrediction => ({ outcome: "refused", errno, reason });
const accepted = (reason: string): KexecPrediction => ({ outcome: "accepted", errno: undefined, reason });
const unknown = (reason: string): KexecPrediction => ({ outcome: "unknown", errno: undefined, reason });

/**
 * What either system call will answer to root, as far as signatures and permissions go.
 *
 * @param verdict on the image; undefined for kexec_load, which verifies nothing
 */
export function predictKexec(
  method: KexecMethod,
  verdict: SignatureVerdict | undefined,
  rules: SignatureRules,
): KexecPrediction {
  return permission(method, rules) ?? (verdict === undefined ? predictSegments(rules) : file(verdict, rules));
}

/** Source: kernel/kexec_core.c kexec_load_permitted. */
function permission(method: KexecMethod, rules: SignatureRules): KexecPrediction | undefined {
  const { state } = rules;
  const [has, option] =
    method === "kexec_load"
      ? [rules.hasKexecLoad, "CONFIG_KEXEC"]
      : [rules.hasKexecFileLoad, "CONFIG_KEXEC_FILE"];
  if (!state.supported || has === false)
    return refused("ENOSYS", `The running kernel has no ${method} (${option}).`);
  if (state.loadDisabled === true)
    return refused("EPERM", "kernel.kexec_load_disabled is 1: nothing can be loaded until the next boot.");
  if (state.loadLimitReboot === 0)
    return refused(
      "EPERM",
      "kernel.kexec_load_limit_reboot is 0: no more loads are allowed until the next boot.",
    );
  return undefined;
}

/** What is asked of kexec_load besides. Source: kernel/kexec.c kexec_load_check: IMA first, then lockdown. */
export function predictSegments(rules: SignatureRules): KexecPrediction {
  if (rules.imaWantsFiles === true)
    return refused(
      "EACCES",
      "Under Secure Boot the kernel takes no image by kexec_load, which it could not verify.",
    );
  if (rules.imaAppraisal === "signature")
    return refused("EACCES", "IMA's policy wants signed kernels, and kexec_load brings no file to verify.");
  if (isLockedDown(rules))
    return refused("EPERM", `The kernel is locked down (${rules.lockdown}), which forbids kexec_load.`);
  if (rules.lockdown === "unknown" || rules.imaWantsFiles === undefined)
    return unknown("Whether the kernel forbids kexec_load (lockdown, Secure Boot) is not to be seen.");
  if (rules.imaAppraisal === "unknown") return unknown("IMA has rules of its own, which are not to be seen.");
  return accepted("The kernel verifies no signature of what comes by kexec_load.");
}

/** Source: kernel/kexec_file.c kimage_validate_signature; IMA's rules apply while the file is read, before it. */
function file(verdict: SignatureVerdict, rules: SignatureRules): KexecPrediction {
  if (rules.imaAppraisal === "signature")
    return unknown(
      "IMA's policy wants a signature in the file's extended attribute security.ima, which is not looked at here.",
    );
  const bySignature = withoutIma(verdict, rules);
  if (bySignature.outcome !== "accepted" || rules.imaAppraisal === "none") return bySignature;
  return unknown(
    rules.imaAppraisal === "some"
      ? "IMA's policy verifies some files by their extended attribute security.ima, which is not looked at here."
      : `IMA may have rules for kernels, which are not to be seen. ${bySignature.reason}`,
  );
}

function withoutIma(verdict: SignatureVerdict, rules: SignatureRules): KexecPrediction {
  if (rules.verifies === false)
    return accepted("The running kernel verifies no signatures (CONFIG_KEXEC_SIG).");
  if (rules.verifies !== undefined && rules.verifiesBzImages === false)
    return judged(
      "EKEYREJECTED",
      "The running kernel cannot verify this kind of image (CONFIG_KEXEC_BZIMAGE_VERIFY_SIG).",
      rules,
    );
  if (verdict.outcome === "valid") return accepted(verdict.reason);
  if (verdict.outcome === "unknown") {
    const insists = judged("ENOKEY", verdict.reason, rules);
    return insists.outcome === "accepted" ? insists : unknown(verdict.reason);
  }
  return judged(verdict.errno ?? "EKEYREJECTED", verdict.reason, rules);
}

/** What becomes of an image whose signature the kernel does not verify. */
function judged(errno: string, reason: string, rules: SignatureRules): KexecPrediction {
  if (rules.verifies === true && rules.enforced === true) return refused(errno, reason);
  if (rules.verifies === undefined || rules.enforced === undefined)
    return unknown(`${reason} Whether the running kernel insists on signatures is not to be seen.`);
  if (isLockedDown(rules))
    return refused("EPERM", `${reason} The kernel is locked down (${rules.lockdown}).`);
  if (rules.lockdown === "unknown")
    return unknown(`${reason} Whether the kernel is locked down is not to be seen.`);
  return accepted("The running kernel does not insist on signatures.");
}
