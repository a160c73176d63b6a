/** Runs in a guest: what is predicted for each image, and what the kernel then says. Prints both. */
import { kexecFileLoad, kexecFileUnload, readKexecState } from "../../../src/host/kexec.ts";
import { kexecUnload } from "../../../src/host/kexec-load.ts";
import { readLockdown } from "../../../src/host/lockdown.ts";
import { SyscallError } from "../../../src/host/syscall.ts";
import { explainKexecFailure } from "../../../src/kexec/explain.ts";
import { type PreparedKexec, prepareKexec } from "../../../src/kexec/plan.ts";
import type { Outcome } from "./outcome.ts";

async function outcomeOf(prepared: PreparedKexec, call: () => Promise<void>): Promise<Outcome> {
  const { prediction, signature, notes } = prepared.plan;
  const found = { predicted: prediction!, signature, notes };
  try {
    await call();
    await kexecFileUnload();
    return { ...found, errno: undefined, message: undefined };
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    const circumstances = { state: await readKexecState(), lockdown: await readLockdown(), signature };
    return {
      ...found,
      errno: error.code,
      message: explainKexecFailure("load it", error, circumstances).message,
    };
  }
}

const images = process.argv.slice(2);
const outcomes: Record<string, Outcome> = {};
for (const image of images) {
  const prepared = await prepareKexec({ image, commandLine: "console=ttyS0" }, "");
  const { handover } = prepared;
  if (handover.by !== "kexec_file_load") throw new Error(`${image} is no bzImage`);
  outcomes[image] = await outcomeOf(prepared, () =>
    kexecFileLoad(handover.kernel, handover.initrd, "console=ttyS0"),
  );
}
const bySegments = await prepareKexec(
  { image: images[0]!, commandLine: "console=ttyS0", syscall: "kexec_load" },
  "",
);
// No segments: the kernel asks whether the call is allowed before it looks at them.
outcomes.kexec_load = await outcomeOf(bySegments, kexecUnload);
process.stdout.write(JSON.stringify(outcomes));
