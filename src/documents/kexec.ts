import { z } from "zod";
import type { KernelChoice } from "../kexec/choice/boot-kernel.ts";
import type { CompatResult } from "../kexec/compat/run.ts";
import type { Leaving } from "../kexec/exec.ts";
import type { ArmedFallback } from "../kexec/fallback/arm.ts";
import type { Confirmed, WatchEnd } from "../kexec/fallback/trial.ts";
import type { HookRun } from "../kexec/hooks.ts";
import type { KexecPlan } from "../kexec/plan.ts";
import type { KexecPreflight } from "../kexec/preflight/preflight.ts";
import type { Quieted } from "../kexec/quiesce/quiesce.ts";
import type { KexecStatus } from "../kexec/status.ts";
import type { KexecSurvey } from "../kexec/whole-way.ts";
import { documentOf } from "./document.ts";

/** `rekernel kexec list` */
export const kexecListDocument = documentOf<KernelChoice>()(
  z.strictObject({
    loader: z
      .enum(["grub", "systemd-boot", "specification", "none"])
      .describe("whose rules decided; `none`: the newest kernel of /boot"),
    kernels: z
      .array(
        z.strictObject({
          source: z
            .enum(["grub", "entry", "unified-image", "folder"])
            .describe(
              "GRUB's menu, an entry file of the Boot Loader Specification, a unified kernel image, or a vmlinuz in /boot that no boot loader names",
            ),
          id: z.string().describe("as the boot loader names it"),
          title: z.string(),
          version: z.string().optional(),
          image: z.string().optional().describe("path of the kernel; missing for what is no Linux"),
          initrds: z.array(z.string()).describe("laid one over the other"),
          commandLine: z.string().optional().describe("missing where the boot loader does not say"),
          file: z.string().describe("the file that says all this"),
          triesLeft: z.number().optional().describe("boot counting: boots that may still be tried"),
          triesDone: z.number().optional(),
          problem: z.string().optional().describe("why kexec cannot load it"),
        }),
      )
      .describe("in the boot loader's order, then those that it does not know"),
    chosen: z.number().describe("number in `kernels`, from 0, of the one that a reboot would start"),
    reason: z.string().describe("why that one"),
    notes: z.array(z.string()).describe("what was skipped or is uncertain"),
  }),
);

/** `rekernel kexec load` */
export const kexecPlanDocument = documentOf<KexecPlan & { loaded: boolean }>()(
  z.strictObject({
    loaded: z.boolean().describe("false with `--dry-run`"),
    image: z.string().describe("path of the image that was given"),
    release: z.string().optional().describe("the kernel's release, where its boot header names one"),
    kind: z
      .enum(["bzimage", "vmlinux", "multiboot2", "multiboot", "elf32"])
      .describe("what the image is; `vmlinux`: an ELF file of 64 bits"),
    kernelFrom: z.string().describe("what the kernel is taken from: `.linux of debian.efi`"),
    kernelBytes: z.int(),
    kernelForm: z
      .enum(["as-is", "decompressed"])
      .describe("decompressed: unpacked beforehand, so that it need not do that after the jump"),
    profile: z.string().optional().describe("of a unified kernel image that has profiles: `@0 (regular)`"),
    initrds: z
      .array(z.strictObject({ from: z.string(), bytes: z.int() }))
      .describe("what the initrd is made of, in the order in which the kernel unpacks it"),
    initrdBytes: z.int().describe("all of it as it is handed over, with the NULs between its parts"),
    initrdForm: z.enum(["as-is", "decompressed"]).describe("whether anything of it was unpacked beforehand"),
    modules: z
      .array(z.strictObject({ path: z.string(), commandLine: z.string(), bytes: z.int() }))
      .describe("of a multiboot kernel"),
    commandLine: z.string().describe("the command line of the next kernel"),
    commandLineFrom: z.enum(["given", "boot-loader", "running", "image", "none"]),
    method: z.enum(["kexec_file_load", "kexec_load"]).describe("the system call"),
    methodReason: z.string(),
    prediction: z
      .strictObject({
        outcome: z.enum(["accepted", "refused", "unknown"]),
        errno: z.string().optional().describe("the error number that is expected, such as `ENOKEY`"),
        reason: z.string(),
      })
      .optional()
      .describe("whether the running kernel will take it; missing with `--memory-map`"),
    signature: z
      .strictObject({
        outcome: z
          .enum(["valid", "invalid", "unknown"])
          .describe("as the running kernel verifies it; unknown: its keys are not to be seen"),
        errno: z.string().optional().describe("what the kernel's verification ends with"),
        reason: z.string(),
        signer: z.string().optional(),
        signatures: z.int().describe("how many the image carries; the kernel looks at the first"),
        trustedKey: z
          .strictObject({
            description: z.string(),
            origin: z.string().describe("keyring, or EFI variable"),
          })
          .optional(),
        imageDigest: z.string().optional().describe("SHA-256 (Authenticode), by which a dbx names it"),
      })
      .optional()
      .describe("missing for kexec_load, which verifies nothing"),
    layout: z
      .strictObject({
        memoryFrom: z
          .enum(["firmware", "running", "given"])
          .describe("the memory map: the firmware's, /proc/iomem, or `--memory-map`"),
        digest: z.enum(["sha256", "sum"]).describe("how the purgatory verifies the segments after the jump"),
        digestReason: z.string(),
        entry: z.string().describe("where the jump goes, into the purgatory: `0x…`"),
        kernelEntry: z.string().describe("where the purgatory goes on, in the next kernel"),
        segments: z
          .array(
            z.strictObject({
              name: z.string(),
              start: z.string().describe("physical address, `0x…`"),
              end: z.string().describe("behind the last byte of its memory"),
              bytes: z.int().describe("what is loaded; the rest of its memory is zeroed"),
              memoryBytes: z.int(),
            }),
          )
          .describe("by address"),
      })
      .optional()
      .describe("what lies where at the jump; only for kexec_load"),
    notes: z.array(z.string()).describe("what the administrator should know, in full sentences"),
  }),
);

const leavingBy = z
  .enum(["init", "here"])
  .describe("`init`: the init system stops all services, then jumps; `here`: this process does");

const hookRun = z.strictObject({
  stage: z.enum(["pre-load", "pre-exec"]),
  path: z.string(),
  output: z.string().describe("the end of what it printed"),
});

const beforeJump = z
  .union([
    z.strictObject({ verified: z.literal(true) }),
    z.strictObject({ verified: z.literal(false), reason: z.string() }),
  ])
  .describe("whether the loaded kernel was, by SHA-256, what rekernel loaded");

/** `rekernel kexec exec`; printed before anything is stopped. */
export const kexecExecDocument = documentOf<Leaving>()(
  z.strictObject({ by: leavingBy, hooks: z.array(hookRun), before: beforeJump }),
);

/** `rekernel kexec unload` */
export const kexecUnloadDocument = z.strictObject({ loaded: z.literal(false) });

/** `rekernel kexec status` */
export const kexecStatusDocument = documentOf<KexecStatus>()(
  z.strictObject({
    running: z.string().describe("release of the running kernel"),
    supported: z.boolean().describe("the kernel has kexec"),
    loaded: z.boolean().optional().describe("a kernel waits for the jump"),
    crashLoaded: z.boolean().optional().describe("a crash kernel waits for a panic"),
    crashSizeBytes: z.number().optional().describe("memory that crashkernel= reserved"),
    loadDisabled: z.boolean().optional().describe("kernel.kexec_load_disabled"),
    loadLimitReboot: z.number().optional().describe("loads that are still allowed, -1: any number"),
    loadLimitPanic: z.number().optional(),
    lockdown: z.enum(["none", "integrity", "confidentiality", "unknown"]),
    execThrough: z.enum(["systemd", "directly"]).describe("how `kexec exec` would jump"),
    trial: z
      .strictObject({
        state: z
          .enum(["armed", "trial", "returned"])
          .describe(
            "the jump is still to come; the kernel on trial runs; another kernel runs: the trial is over",
          ),
        next: z.string().optional().describe("release of the kernel on trial"),
        old: z.string().describe("release of the kernel that comes back"),
        minutes: z.number().describe("from the new kernel's boot until it must be confirmed"),
        secondsLeft: z.number().optional().describe("until the old kernel comes back, while the trial runs"),
      })
      .optional()
      .describe("`rekernel kexec --fallback`; missing without one"),
  }),
);

/** `rekernel kexec confirm` */
export const kexecConfirmDocument = documentOf<Confirmed>()(
  z.strictObject({
    running: z.string().describe("release of the kernel that stays"),
    old: z.string().describe("release of the kernel that would have come back"),
  }),
);

/** `rekernel kexec fallback-watch` */
export const kexecFallbackWatchDocument = documentOf<WatchEnd>()(
  z.strictObject({
    outcome: z
      .enum(["nothing", "confirmed", "returned", "returning"])
      .describe(
        "nothing is on trial; the kernel was confirmed; another kernel runs, and what was left of the trial is cleared; the machine goes down into the old kernel",
      ),
    old: z.string().optional().describe("release of the old kernel"),
  }),
);

/** `rekernel kexec compat`; nothing is printed where this process itself jumps. */
export const kexecCompatDocument = documentOf<CompatResult & { said: readonly string[] }>()(
  z.strictObject({
    exitCode: z.int().describe("of kexec-tools; the command's own, too"),
    plan: kexecPlanDocument.omit({ loaded: true }).optional().describe("what was loaded"),
    said: z.array(z.string()).describe("what kexec would have printed"),
  }),
);

const remedyFields = {
  action: z
    .enum(["unmount", "bus-master-off", "arm-watchdog", "write-out", "unbind"])
    .describe("what `--quiesce` does"),
  target: z.string().describe("mount point, PCI address, name of the watchdog; empty for `write-out`"),
};

const preflightFields = {
  running: z.string().describe("release of the running kernel"),
  blocked: z.boolean().describe("something blocks; the exit code is 4"),
  findings: z
    .array(
      z.strictObject({
        check: z.string().describe("stable name of what was looked at, such as `watchdog`"),
        severity: z
          .enum(["blocks", "warns", "unknown", "notes"])
          .describe(
            "blocks: see to it first; warns: something may be lost or need a hand; unknown: could not be looked at; notes: good to know",
          ),
        subject: z.string().describe("what it is"),
        items: z.array(z.string()).describe("the devices, mounts or processes by name"),
        why: z.string().describe("why it matters"),
        advice: z.string().describe("what to do about it"),
        remedies: z
          .array(z.strictObject(remedyFields))
          .optional()
          .describe("what `--quiesce` does about it; missing where only people can do something"),
      }),
    )
    .describe("the most serious first"),
};

const quieted = z
  .array(
    z.strictObject({
      ...remedyFields,
      done: z.boolean(),
      before: z.string().describe("how it stood"),
      after: z.string().describe("how it stands now, or why it could not be done"),
    }),
  )
  .describe("what `--quiesce` did");

/** `rekernel kexec preflight` */
export const kexecPreflightDocument = documentOf<KexecPreflight & { quieted?: Quieted[] }>()(
  z.strictObject({ ...preflightFields, quieted: quieted.optional() }),
);

/** What `rekernel kexec`, the whole way, tells. */
export interface WholeWayReport extends Pick<KexecSurvey, "stoppedBy" | "ignored"> {
  choice: KernelChoice | undefined;
  plan: KexecPlan;
  preflight: KexecPreflight;
  loaded: boolean;
  by: Leaving["by"] | undefined;
  quieted: Quieted[];
  hooks: HookRun[];
  fallback: ArmedFallback | undefined;
}

/** `rekernel kexec`; printed before anything is stopped. */
export const kexecWholeWayDocument = documentOf<WholeWayReport>()(
  z.strictObject({
    choice: kexecListDocument
      .optional()
      .describe("as `rekernel kexec list`; missing where an image was named"),
    plan: kexecPlanDocument.omit({ loaded: true }).describe("as `rekernel kexec load`"),
    preflight: z
      .strictObject(preflightFields)
      .describe("as `rekernel kexec preflight`, before anything was quiesced"),
    stoppedBy: z.array(z.string()).describe("names of the checks that stop it; then the exit code is 4"),
    ignored: z.array(z.string()).describe("names of checks that block, and were ignored (`--ignore`)"),
    loaded: z.boolean().describe("false with `--dry-run`, and where something stops it"),
    by: leavingBy.optional().describe("how the machine goes down; missing where it does not"),
    quieted,
    hooks: z.array(hookRun).describe("the hooks that ran, which all succeeded"),
    fallback: z
      .strictObject({
        minutes: z.number().describe("from the new kernel's boot until it must be confirmed"),
        release: z.string().describe("of the kernel that comes back otherwise"),
        files: z
          .array(z.string())
          .describe("made for this; gone once it is confirmed or the old kernel is back"),
        bootEntry: z
          .string()
          .optional()
          .describe("entry of the old kernel, which the boot loader starts after a reset"),
        notes: z.array(z.string()).describe("what is missing, and what becomes of a hang"),
      })
      .optional()
      .describe("the way back that was prepared (`--fallback`)"),
  }),
);
