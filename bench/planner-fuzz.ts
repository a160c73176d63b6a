/** Mutated kernel images through the planner of kexec: every one has to end in a plan or a clear error. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { RekernelError } from "../src/core/errors.ts";
import { prepareKexec } from "../src/kexec/plan.ts";
import { bzImageAround, type SampleImage, sampleImages } from "../test/unit/kexec/sample-images.ts";
import { randomNumbers } from "./random.ts";

export interface PlannerFuzz {
  runs: number;
  plans: number;
  errors: number;
  /** Of processor time, the faster of two attempts: the machine may do something else meanwhile. */
  slowestMs: number;
  /** The kind of image that took longest, and its number. */
  slowest: string;
  /** Of the process, above what it held before. */
  peakGrowthMiB: number;
}

/** A machine of 1 GiB, as its /proc/iomem would show it. */
const memoryMap = `00000000-00000fff : Reserved
00001000-0009fbff : System RAM
0009fc00-0009ffff : Reserved
000f0000-000fffff : Reserved
00100000-3ffdffff : System RAM
3ffe0000-3fffffff : ACPI Tables
fffc0000-ffffffff : Reserved
`;

/**
 * @param seed the same runs for the same seed
 * @throws whatever is neither a plan nor a RekernelError: a defect, with the run that shows it
 */
export async function fuzzPlanner(runs: number, seed: number): Promise<PlannerFuzz> {
  const random = randomNumbers(seed);
  const below = (limit: number) => Math.floor(random() * limit);
  const folder = mkdtempSync(join(tmpdir(), "rekernel-fuzz-"));
  const at = (name: string) => join(folder, name);
  const put = (name: string, data: string | Uint8Array) => writeFileSync(at(name), data);
  const result: PlannerFuzz = { runs, plans: 0, errors: 0, slowestMs: 0, slowest: "", peakGrowthMiB: 0 };
  try {
    const samples = sampleImages();
    put("map", memoryMap);
    put("module", Buffer.alloc(10_000, "module"));
    put("initrd", Buffer.alloc(100_000, "initrd"));
    const machine = { proc: at("proc"), sys: at("sys"), dev: at("dev"), run: at("run") };
    const before = process.memoryUsage.rss();
    for (let run = 0; run < runs; run++) {
      const sample = samples[below(samples.length)]!;
      put("image", damaged(sample, below));
      // One map in ten is damaged, too: it may come from another machine.
      const damagedMap = below(10) === 0;
      if (damagedMap) put("damaged-map", mutate(Buffer.from(memoryMap), below));
      const request = {
        image: at("image"),
        ...extras(sample, at, below),
        memoryMap: at(damagedMap ? "damaged-map" : "map"),
        commandLine: "root=/dev/vda1 console=ttyS0",
      };
      const attempt = async () => {
        const started = process.cpuUsage();
        const error = await prepareKexec(request, "quiet", machine).then(
          () => undefined,
          (cause: unknown) => cause,
        );
        const used = process.cpuUsage(started);
        return { error, elapsedMs: (used.user + used.system) / 1000 };
      };
      const { error, elapsedMs: firstMs } = await attempt();
      if (error === undefined) result.plans++;
      else if (error instanceof RekernelError) result.errors++;
      else throw new Error(`seed ${seed}, run ${run} (${sample.name})`, { cause: error });
      // A machine that pauses counts as processor time, too, but it does not pause twice for the same image.
      const elapsedMs = firstMs > result.slowestMs ? Math.min(firstMs, (await attempt()).elapsedMs) : firstMs;
      if (elapsedMs > result.slowestMs) {
        result.slowestMs = elapsedMs;
        result.slowest = `${sample.name}, run ${run}`;
      }
      const growthMiB = (process.memoryUsage.rss() - before) / 2 ** 20;
      result.peakGrowthMiB = Math.max(result.peakGrowthMiB, growthMiB);
    }
    return result;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function extras(sample: SampleImage, at: (name: string) => string, below: (limit: number) => number) {
  if (sample.multiboot) return { modules: [{ path: at("module"), commandLine: "words" }] };
  return {
    initrds: [at("initrd")],
    entry32Bit: below(4) === 0,
    syscall: below(3) === 0 ? ("auto" as const) : ("kexec_load" as const),
  };
}

/** Damage in what is packed is found by its checksum: some images are packed after it was done. */
function damaged(sample: SampleImage, below: (limit: number) => number): Uint8Array {
  const bytes = mutate(sample.bytes, below);
  if (sample.name.startsWith("vmlinux") && below(2) === 0) return bzImageAround(bytes);
  return below(6) === 0 ? gzipSync(bytes) : bytes;
}

/** Numbers that upset arithmetic. */
const extremes = [0, 1, 0x7f, 0x80, 0xff];

function mutate(original: Uint8Array, below: (limit: number) => number): Uint8Array {
  if (below(12) === 0) return original.subarray(0, below(original.length));
  if (below(50) === 0) return Buffer.from(Array.from({ length: below(4096) }, () => below(256)));
  const bytes = Uint8Array.from(original);
  for (let count = 1 + below(5); count > 0; count--) {
    // Headers are where a byte does most harm: at the beginning, and behind the boot sector.
    const places = [
      below(bytes.length),
      below(64),
      0x1f0 + below(0x80),
      below(0x1100),
      bytes.length - 1 - below(512),
    ];
    const place = Math.min(bytes.length - 1, Math.max(0, places[below(places.length)]!));
    const width = [1, 1, 2, 4, 8][below(5)]!;
    const value = below(2) === 0 ? extremes[below(extremes.length)]! : below(256);
    bytes.fill(value, place, place + width);
  }
  return bytes;
}
