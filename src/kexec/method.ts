/** Which of the two system calls loads a kernel, and why. */
import { RekernelError } from "../core/errors.ts";
import { type BzImageHeader, protocolText } from "../formats/bzimage.ts";
import { runningKernelConfig } from "../host/kernel-config.ts";
import { type Lockdown, readLockdown } from "../host/lockdown.ts";
import { type HostPaths, thisHost } from "../host/paths.ts";
import { runningKernel } from "../host/running-kernel.ts";
import { type ImageKind, kindNames } from "./loaders/kind.ts";

/**
 * `kexec_file_load`: the running kernel reads the files, verifies the signature and finds the room.
 * `kexec_load`: rekernel lays everything out, and the kernel only copies it.
 */
export type KexecMethod = "kexec_file_load" | "kexec_load";

/** What the running kernel allows. A field is undefined where it does not tell. */
export interface MethodFacts {
  lockdown: Lockdown;
  /** CONFIG_KEXEC */
  hasKexecLoad: boolean | undefined;
  /** CONFIG_KEXEC_FILE */
  hasKexecFileLoad: boolean | undefined;
  /** CONFIG_KEXEC_SIG_FORCE: its builder wants no kernel without a signature to be started. */
  signatureForced: boolean | undefined;
}

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
}

export interface ChosenMethod {
  method: KexecMethod;
  /** A full sentence. */
  reason: string;
  /** Why the running kernel will refuse, in a full sentence; a plan can be made all the same. */
  forbidden: string | undefined;
}

/**
 * @throws RekernelError for a wish for kexec_file_load that the image cannot fulfil: RK-KEXEC-VMLINUX,
 *   RK-IMAGE-TOO-OLD (4), RK-USAGE (2)
 */
export function chooseMethod(needs: MethodNeeds, facts: MethodFacts): ChosenMethod {
  const needsSegments = whySegments(needs);
  if (needs.wish === "kexec_file_load" && needsSegments !== undefined) throw needsSegments.refusal;
  const chosen = (method: KexecMethod, reason: string) => ({
    method,
    reason,
    forbidden: whyForbidden(method, facts),
  });
  if (needs.wish !== "auto") return chosen(needs.wish, "It was asked for.");
  if (needsSegments !== undefined) return chosen("kexec_load", needsSegments.reason);
  if (isLockedDown(facts.lockdown))
    return chosen(
      "kexec_file_load",
      `The kernel is locked down (${facts.lockdown}), which forbids kexec_load.`,
    );
  if (facts.signatureForced === true)
    return chosen(
      "kexec_file_load",
      "The running kernel wants signed kernels only, and kexec_load verifies nothing.",
    );
  if (facts.hasKexecFileLoad === false && facts.hasKexecLoad !== false)
    return chosen("kexec_load", "The running kernel has no kexec_file_load.");
  return chosen("kexec_file_load", "The running kernel can verify and place this image itself.");
}

export async function readMethodFacts(host: HostPaths = thisHost): Promise<MethodFacts> {
  const { release } = await runningKernel(host);
  const [lockdown, config] = await Promise.all([readLockdown(host), runningKernelConfig(release, host)]);
  const has = (option: string) => config && config.get(option) === "y";
  return {
    lockdown,
    hasKexecLoad: has("CONFIG_KEXEC"),
    hasKexecFileLoad: has("CONFIG_KEXEC_FILE"),
    signatureForced: has("CONFIG_KEXEC_SIG_FORCE"),
  };
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
  // arch/x86/kernel/kexec-bzimage64.c bzImage64_probe
  if (
    header !== undefined &&
    (header.protocol < 0x020c || !header.xloadflags.kernel64 || !header.xloadflags.canBeLoadedAbove4G)
  ) {
    const lack = `has no 64-bit entry that can be loaded anywhere (boot protocol ${protocolText(header.protocol)})`;
    return {
      reason: `kexec_file_load cannot start this image: it ${lack}.`,
      refusal: new RekernelError(
        "refused",
        "RK-IMAGE-TOO-OLD",
        `${name} cannot be started by kexec_file_load: it ${lack}.`,
        { hint: "Use --syscall kexec_load, or an x86-64 kernel of Linux 3.8 or later." },
      ),
    };
  }
  if (needs.entry32Bit) return usage("kexec_file_load knows the 64-bit entry only.");
  if (needs.modules) return usage("kexec_file_load passes no modules.");
  if (needs.givenMap) return usage("By a given memory map only kexec_load can be planned.");
  return undefined;
}

function whyForbidden(method: KexecMethod, facts: MethodFacts): string | undefined {
  if (method === "kexec_load" && isLockedDown(facts.lockdown))
    return `The running kernel is locked down (${facts.lockdown}) and will refuse kexec_load.`;
  const has = method === "kexec_load" ? facts.hasKexecLoad : facts.hasKexecFileLoad;
  const option = method === "kexec_load" ? "CONFIG_KEXEC" : "CONFIG_KEXEC_FILE";
  return has === false ? `The running kernel has no ${method} (${option}).` : undefined;
}

function isLockedDown(lockdown: Lockdown): boolean {
  return lockdown === "integrity" || lockdown === "confidentiality";
}
