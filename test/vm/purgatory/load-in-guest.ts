/**
 * Runs in a guest: loads a kernel through kexec_load with a purgatory that expects another initrd, looks at
 * what the kernel keeps of it, and prints both.
 */
import { kexecLoad } from "../../../src/host/kexec-load.ts";
import { prepareKexec } from "../../../src/kexec/plan.ts";
import { checkLoadedImage, expectedImage } from "../../../src/kexec/purgatory/loaded.ts";

const [image, initrd] = process.argv.slice(2);
const { handover } = await prepareKexec(
  {
    image: image!,
    initrds: [initrd!],
    commandLine: "console=ttyS0",
    syscall: "kexec_load",
  },
  "",
);
if (handover.by !== "kexec_load") throw new Error("asked for kexec_load");
const { segments, entry } = handover.layout;
const purgatory = segments.find(({ name }) => name === "purgatory")!;
// In the parameters the digest stands behind the 16 bytes of the region's name.
const digestAt = Buffer.from(purgatory.data).indexOf("initrd\0") + 16;
purgatory.data[digestAt]! ^= 1;
await kexecLoad(segments, entry);

const expected = expectedImage({ segments, entry });
// An unpacked kernel may lie in several parts.
const otherKernel = expected.segments.map((segment) =>
  segment.name.startsWith("kernel") ? { ...segment, sha256: "0".repeat(64) } : segment,
);
process.stdout.write(
  JSON.stringify({
    address: expected.segments.find(({ name }) => name === "initrd")!.address,
    right: await checkLoadedImage(expected),
    wrong: await checkLoadedImage({ ...expected, segments: otherKernel }),
  }),
);
