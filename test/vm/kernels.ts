import type { WorkOptions } from "../../src/core/progress.ts";
import { availableKernels, bootableKernel, targetKernel } from "../../src/kernel/target.ts";
import { prepareTrees } from "../../src/livepatch/build/source/trees.ts";

/** The stock kernels that VM tests run, by release, as Debian's archive has them today. */
export interface TestKernels {
  /** The newest 6.12 for Debian 12. */
  newest: string;
  /** The newest 6.12 that still has the defects of test/vm/patches: what patches are built for. */
  previous: string;
  /** The newest kernel of Debian 12's own series, 6.1. */
  series61: string;
}

/** Linux 6.12.117 mended what the patches in test/vm/patches mend. */
const mendedIn = 117;

let known: Promise<TestKernels> | undefined;

/** Looks the test kernels up in apt's lists, once per process. */
export function testKernels(): Promise<TestKernels> {
  known ??= find();
  return known;
}

/** Puts everything into the cache that VM tests would otherwise all fetch and prepare at once. */
export async function prepareTestKernels(options: WorkOptions): Promise<TestKernels> {
  const kernels = await testKernels();
  await prepareTrees(await targetKernel(kernels.previous, options), options);
  await bootableKernel(kernels.newest, options);
  await bootableKernel(kernels.series61, options);
  return kernels;
}

async function find(): Promise<TestKernels> {
  const releases = (await availableKernels()).map(({ release }) => release);
  const series612 = releases.filter((release) => /^6\.12\.\d+\+deb12-amd64$/.test(release));
  const newest = series612[0];
  const previous = series612.find((release) => Number(/^6\.12\.(\d+)/.exec(release)?.[1]) < mendedIn);
  const series61 = releases.find((release) => /^6\.1\.0-\d+-amd64$/.test(release));
  if (newest === undefined || previous === undefined || series61 === undefined)
    throw new Error(`apt offers too few Debian 12 kernels for the tests: ${releases.join(", ") || "none"}`);
  return { newest, previous, series61 };
}
