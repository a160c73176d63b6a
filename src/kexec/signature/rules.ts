/** What the running kernel demands of an image: its configuration, lockdown, Secure Boot and IMA. */
import type { ImaPolicy } from "../../host/ima.ts";
import type { KernelConfig } from "../../host/kernel-config.ts";
import type { KexecState } from "../../host/kexec.ts";
import type { Lockdown } from "../../host/lockdown.ts";
import { splitCommandLine } from "../command-line.ts";

/** A field is undefined where the machine does not tell. */
export interface SignatureRules {
  state: KexecState;
  lockdown: Lockdown;
  secureBoot: boolean | undefined;
  hasKexecLoad: boolean | undefined;
  hasKexecFileLoad: boolean | undefined;
  /** kexec_file_load looks at signatures (KEXEC_SIG), and at those of bzImages (KEXEC_BZIMAGE_VERIFY_SIG). */
  verifies: boolean | undefined;
  verifiesBzImages: boolean | undefined;
  /** It insists on them: KEXEC_SIG_FORCE, or Secure Boot where the kernel has IMA_ARCH_POLICY. */
  enforced: boolean | undefined;
  /** Under Secure Boot IMA refuses whatever comes without a file, as with kexec_load. */
  imaWantsFiles: boolean | undefined;
  imaAppraisal: ImaAppraisal;
}

/**
 * What IMA wants of a kernel's file, apart from the signature in it: nothing; a signature in its extended
 * attribute security.ima; a hash or signature there, of some files; or it is not known.
 */
export type ImaAppraisal = "none" | "signature" | "some" | "unknown";

export interface RuleSources {
  state: KexecState;
  lockdown: Lockdown;
  secureBoot: boolean | undefined;
  config: KernelConfig | undefined;
  ima: ImaPolicy;
  /** Of the running kernel. */
  commandLine: string;
}

/**
 * Source: kernel/kexec_file.c kimage_validate_signature; security/integrity/ima/ima_efi.c arch_get_ima_policy,
 * ima_main.c ima_load_data. Kernels before 5.4 have KEXEC_VERIFY_SIG, which always insists.
 */
export function signatureRules(sources: RuleSources): SignatureRules {
  const { config, state, lockdown, secureBoot } = sources;
  const has = (option: string) => config && config.get(option) === "y";
  const always = has("CONFIG_KEXEC_VERIFY_SIG") === true;
  const imaGuards = has("CONFIG_IMA_SECURE_AND_OR_TRUSTED_BOOT");
  const booted = (option: boolean | undefined) =>
    option === false || secureBoot === false ? false : option && secureBoot;
  return {
    state,
    lockdown,
    secureBoot,
    hasKexecLoad: has("CONFIG_KEXEC"),
    hasKexecFileLoad: has("CONFIG_KEXEC_FILE"),
    verifies: always || has("CONFIG_KEXEC_SIG"),
    verifiesBzImages: has("CONFIG_KEXEC_BZIMAGE_VERIFY_SIG"),
    enforced: always || has("CONFIG_KEXEC_SIG_FORCE") || booted(has("CONFIG_IMA_ARCH_POLICY")),
    imaWantsFiles: booted(imaGuards && has("CONFIG_KEXEC_SIG")),
    imaAppraisal: imaAppraisal(sources),
  };
}

/** Source: security/integrity/ima/ima_policy.c (built-in rules), ima_appraise.c (ima_appraise=). */
function imaAppraisal({ config, ima, commandLine, secureBoot }: RuleSources): ImaAppraisal {
  if (ima.state === "none" || (config !== undefined && config.get("CONFIG_IMA_APPRAISE") !== "y"))
    return "none";
  const words = splitCommandLine(commandLine);
  const modes = words.filter((word) => word.startsWith("ima_appraise=")).map((word) => word.slice(13));
  // Under Secure Boot the kernel does not let itself be told to look away.
  if (secureBoot !== true && ["off", "log", "fix"].includes(modes.at(-1) ?? "")) return "none";
  if (ima.state === "shown") return appraisalOf(ima.rules);
  if (ima.state === "replaced" || config === undefined || config.get("CONFIG_IMA_WRITE_POLICY") === "y")
    return "unknown";
  const policies = words.flatMap((word) =>
    word.startsWith("ima_policy=") ? word.slice(11).replaceAll('"', "").split(/[ |]/) : [],
  );
  if (policies.includes("secure_boot") || config.get("CONFIG_IMA_APPRAISE_REQUIRE_KEXEC_SIGS") === "y")
    return "signature";
  return policies.includes("appraise_tcb") || words.includes("ima_appraise_tcb") ? "some" : "none";
}

/** What rules in IMA's own words (Documentation/ABI/testing/ima_policy) want of a kernel: the first that fits. */
export function appraisalOf(rules: string): ImaAppraisal {
  for (const line of rules.split("\n")) {
    const [action, ...conditions] = line.trim().split(/\s+/);
    if (action !== "appraise") continue;
    const func = conditions.find((word) => word.startsWith("func="))?.slice(5);
    if (func !== undefined && func !== "KEXEC_KERNEL_CHECK") continue;
    const narrow = conditions.some(
      (word) => !/^(func|appraise_type|appraise_flag|appraise_algos)=/.test(word),
    );
    const wantsSignature = conditions.some((word) => /^appraise_type=.*(imasig|sigv3)/.test(word));
    return !narrow && wantsSignature ? "signature" : "some";
  }
  return "none";
}
