/** What of a unified kernel image does not reach the next kernel. */
import type { UkiProfile } from "../formats/uki.ts";
import type { KexecMethod } from "./method.ts";

/** Full sentences; none where everything does. */
export function leftBehind(profile: UkiProfile, method: KexecMethod): string[] {
  const has = (...names: string[]) => profile.sections.some(({ name }) => names.includes(name));
  return [
    ...(method === "kexec_file_load" && has(".dtb", ".dtbauto")
      ? ["Its device tree is not passed on: on x86-64 only kexec_load does that (--syscall kexec_load)."]
      : []),
    ...(method === "kexec_load" && has(".dtbauto")
      ? ["Of its device trees only .dtb is passed on, not those that are chosen by the machine (.dtbauto)."]
      : []),
    ...(has(".pcrsig", ".pcrpkey")
      ? ["Nothing is measured into the TPM: what is sealed to this image's PCR 11 does not open."]
      : []),
  ];
}
