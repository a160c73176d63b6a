/** Mutated real objects through reader and difference: every one has to end in a verdict or a clear error. */
import { RekernelError } from "../src/core/errors.ts";
import { diffObjects } from "../src/livepatch/build/object-diff.ts";
import { randomNumbers } from "./random.ts";

export interface FuzzResult {
  runs: number;
  verdicts: number;
  errors: number;
  slowestMs: number;
  /** Of the process, above what it held before. */
  peakGrowthMiB: number;
}

/** @throws whatever is neither a verdict nor a RekernelError: a defect, with the seed that shows it */
export function fuzzDifference(original: Uint8Array, runs: number, seed: number): FuzzResult {
  const random = randomNumbers(seed);
  const result: FuzzResult = { runs, verdicts: 0, errors: 0, slowestMs: 0, peakGrowthMiB: 0 };
  const before = process.memoryUsage().rss;
  for (let run = 0; run < runs; run++) {
    const mutated = mutate(original, random);
    const startedMs = performance.now();
    try {
      diffObjects(original, mutated, { original: "original", patched: "mutated" });
      result.verdicts++;
    } catch (error) {
      if (!(error instanceof RekernelError)) throw new Error(`seed ${seed}, run ${run}`, { cause: error });
      result.errors++;
    }
    result.slowestMs = Math.max(result.slowestMs, performance.now() - startedMs);
    result.peakGrowthMiB = Math.max(result.peakGrowthMiB, (process.memoryUsage.rss() - before) / 2 ** 20);
  }
  return result;
}

const values = [0, 1, 0x7f, 0x80, 0xff];

function mutate(original: Uint8Array, random: () => number): Uint8Array {
  const below = (limit: number) => Math.floor(random() * limit);
  if (below(10) === 0) return original.subarray(0, below(original.length));
  const bytes = Uint8Array.from(original);
  const headers = Number(new DataView(bytes.buffer).getBigUint64(40, true));
  for (let count = 1 + below(6); count > 0; count--) {
    // Headers are where a byte does most harm.
    const places = [
      below(bytes.length),
      below(64),
      Math.min(headers + below(bytes.length - headers), bytes.length - 1),
    ];
    const at = places[below(places.length)]!;
    bytes[at] = below(2) === 0 ? values[below(values.length)]! : below(256);
  }
  return bytes;
}
