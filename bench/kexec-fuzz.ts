// `npm run bench -- kexec-fuzz`: 20,000 mutated kernel images through the planner, none of which may crash or hang it.
import { fuzzPlanner } from "./planner-fuzz.ts";

const runs = 20_000;
process.stderr.write(`Planning ${runs} mutated kernel images ...\n`);
const startedMs = performance.now();
const fuzzed = await fuzzPlanner(runs, 1);
const elapsedMs = performance.now() - startedMs;

if (process.argv.includes("--json"))
  console.log(JSON.stringify({ fuzzed: { ...fuzzed, elapsedMs } }, undefined, 2));
else {
  console.log(
    `${runs} mutated images of kexec: ${fuzzed.plans} plans, ${fuzzed.errors} clear errors, no crash`,
  );
  console.log(`slowest          ${fuzzed.slowestMs.toFixed(0)} ms of processor time (${fuzzed.slowest})`);
  console.log(`memory in use    ${fuzzed.peakGrowthMiB.toFixed(0)} MiB more than before, at most`);
  console.log(`all              ${(elapsedMs / 1000).toFixed(0)} s`);
}
