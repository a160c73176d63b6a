/** What a kernel on trial leaves for whoever confirms it or goes back. */
import { readFile, rm } from "node:fs/promises";
import { z } from "zod";
import { hasErrno, RekernelError } from "../../core/errors.ts";
import { writeFileAtomic } from "../../core/files.ts";

const recordSchema = z.strictObject({
  version: z.literal(1),
  /** The word `rekernel.trial=…` on the command line of the kernel on trial. */
  trial: z.string().regex(/^[0-9a-f]{16}$/),
  /** From its boot until it must be confirmed. */
  minutes: z.number().positive(),
  armedAt: z.iso.datetime(),
  /** Id of the boot that armed it. */
  armedBoot: z.string(),
  next: z.strictObject({ release: z.string().optional(), image: z.string() }),
  old: z.strictObject({
    release: z.string(),
    image: z.string(),
    initrds: z.array(z.string()),
    commandLine: z.string(),
  }),
  /** What the boot loader was told, and what stood there before. */
  loader: z
    .discriminatedUnion("kind", [
      z.strictObject({
        kind: z.literal("grub"),
        file: z.string(),
        entry: z.string(),
        previous: z.string().optional(),
      }),
      z.strictObject({
        kind: z.literal("systemd-boot"),
        entry: z.string(),
        previous: z.string().optional(),
      }),
    ])
    .optional(),
  /** Everything else that was made for this. */
  files: z.array(z.string()),
  /** kernel.panic before, for the confirmed kernel. */
  panicSeconds: z.number(),
});

export type FallbackRecord = z.infer<typeof recordSchema>;
export type OldKernel = FallbackRecord["old"];
export type LoaderChange = NonNullable<FallbackRecord["loader"]>;

/** Where it lies; tests use another root. */
export const recordFile = "/var/lib/rekernel/fallback.json";

/** @throws RekernelError RK-KEXEC-FALLBACK (1) where the file is damaged; RK-PERMISSION (5) */
export async function readFallback(file = recordFile): Promise<FallbackRecord | undefined> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    if (hasErrno(error) && (error.code === "ENOENT" || error.code === "ENOTDIR")) return undefined;
    throw error;
  }
  try {
    return recordSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new RekernelError("failed", "RK-KEXEC-FALLBACK", `${file} is damaged.`, {
      hint: `Nothing goes back to the old kernel by itself. Remove the file, and rekernel-kexec-fallback.service with it.`,
      cause,
    });
  }
}

/** @throws RekernelError RK-DISK-FULL, RK-WRITE (1) */
export async function writeFallback(record: FallbackRecord, file = recordFile): Promise<void> {
  await writeFileAtomic(file, `${JSON.stringify(recordSchema.parse(record), undefined, 2)}\n`, 0o600);
}

export async function removeFallback(file = recordFile): Promise<void> {
  await rm(file, { force: true });
}

/** What the kernel on trial gets on its command line: its mark, and a reboot instead of a stop after a panic. */
export function trialWords(trial: string, commandLine: string): string {
  const panic = [...commandLine.matchAll(/(?:^|\s)panic=(-?\d+)/g)].at(-1)?.[1];
  return `rekernel.trial=${trial}${panic === undefined || panic === "0" ? " panic=15" : ""}`;
}

/** Whether a command line is that of the kernel on trial. */
export function isOnTrial({ trial }: Pick<FallbackRecord, "trial">, commandLine: string): boolean {
  return commandLine.split(/\s+/).includes(`rekernel.trial=${trial}`);
}
