// `npm test`: all checks, the unit tests, and the tests that boot real kernels. Ends with one line of counts.
// `npm run test:full`: the tests that take longer besides.
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { ProgressEvent } from "../src/core/progress.ts";
import { prepareTestKernels } from "../test/vm/kernels.ts";

const root = dirname(import.meta.dirname);
const results = mkdtempSync(join(tmpdir(), "rekernel-test-"));
const interrupted = new AbortController();
const startedMs = performance.now();
const total = { passed: 0, failed: 0, skipped: 0 };
const failures: string[] = [];

process.on("exit", () => rmSync(results, { recursive: true, force: true }));
for (const name of ["SIGINT", "SIGTERM"] as const)
  process.on(name, () => {
    // Children got the terminal's Ctrl-C too and clean up after themselves; only then is it over.
    interrupted.abort();
    process.exitCode = name === "SIGINT" ? 130 : 143;
  });

// Kernels come over the network and their trees are made by one core, while the other one checks and tests.
const kernels = prepareTestKernels({ signal: interrupted.signal, onProgress: sayProgress }).catch(
  (error: unknown) => {
    if (!interrupted.signal.aborted) countFailure(`preparing the test kernels: ${describe(error)}`);
    return undefined;
  },
);
await check("biome", ["biome", "check", "--error-on-warnings", "."]);
await check("tsc", ["tsc"]);
await check("imports", ["node", "scripts/check-imports.ts"]);
await check("knip", ["knip"]);
await vitest("unit");
if ((await kernels) !== undefined) {
  await vitest("vm");
  if (process.argv.includes("--full")) await vitest("full");
}

if (!interrupted.signal.aborted) {
  for (const failure of failures) say(`FAILED ${failure}`);
  say(`Took ${Math.round((performance.now() - startedMs) / 1000)} s.`);
  console.log(
    `${total.passed} passed, ${total.failed} failed${total.skipped > 0 ? `, ${total.skipped} skipped` : ""}`,
  );
  process.exitCode = failures.length > 0 || total.failed > 0 || total.passed === 0 ? 1 : 0;
}

/** One check counts as one test. Its output is shown only when it fails. */
async function check(name: string, command: readonly string[]): Promise<void> {
  if (interrupted.signal.aborted) return;
  const sinceMs = performance.now();
  const { exitCode, output } = await run(command, "captured");
  if (interrupted.signal.aborted) return;
  say(`check ${name}: ${exitCode === 0 ? "ok" : "failed"} (${seconds(sinceMs)})`);
  if (exitCode === 0) total.passed++;
  else {
    say(output);
    countFailure(`check ${name}`);
  }
}

async function vitest(project: "unit" | "vm" | "full"): Promise<void> {
  if (interrupted.signal.aborted) return;
  const file = join(results, `${project}.json`);
  say(`${project} tests`);
  const { exitCode } = await run(
    [
      "vitest",
      "run",
      "--project",
      project,
      "--reporter=default",
      "--reporter=json",
      `--outputFile.json=${file}`,
    ],
    "shown",
  );
  if (interrupted.signal.aborted) return;
  const before = total.failed;
  count(file);
  if (exitCode !== 0) {
    failures.push(`${project} tests`);
    if (total.failed === before) total.failed++;
  }
}

interface VitestResults {
  testResults: { name: string; status: string; assertionResults: { status: string }[] }[];
}

function count(file: string): void {
  let parsed: VitestResults;
  try {
    parsed = JSON.parse(readFileSync(file, "utf8"));
  } catch {
    countFailure(`vitest left no results in ${file}`);
    return;
  }
  for (const { status, assertionResults } of parsed.testResults) {
    for (const { status: one } of assertionResults) {
      if (one === "passed") total.passed++;
      else if (one === "failed") total.failed++;
      else total.skipped++;
    }
    // A file that cannot even be loaded has no tests to count.
    if (status === "failed" && assertionResults.every(({ status: one }) => one !== "failed")) total.failed++;
  }
}

function countFailure(what: string): void {
  failures.push(what);
  total.failed++;
}

function run(
  command: readonly string[],
  mode: "captured" | "shown",
): Promise<{ exitCode: number; output: string }> {
  const [program = "", ...args] = command;
  return new Promise((resolve, reject) => {
    const child = spawn(join(root, "node_modules/.bin", program), args, {
      cwd: root,
      stdio: ["ignore", mode === "shown" ? "inherit" : "pipe", mode === "shown" ? "inherit" : "pipe"],
      env: {
        ...process.env,
        PATH: `${join(root, "node_modules/.bin")}:${process.env.PATH ?? ""}`,
        // vitest takes CI=true for a terminal that shows colours.
        ...(process.stdout.isTTY ? {} : { NO_COLOR: "1" }),
      },
    });
    let output = "";
    child.stdout?.on("data", (data) => (output += data));
    child.stderr?.on("data", (data) => (output += data));
    child.on("error", reject);
    child.on("close", (code) => resolve({ exitCode: code ?? 1, output }));
  });
}

function sayProgress(event: ProgressEvent): void {
  if (event.type === "start") say(`${event.title} ...`);
  if (event.type === "done") say(`${event.title}: done in ${(event.elapsedMs / 1000).toFixed(1)} s`);
}

function seconds(sinceMs: number): string {
  return `${((performance.now() - sinceMs) / 1000).toFixed(1)} s`;
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { hint = "", details = "" } = error as { hint?: string; details?: string };
  return [error.message, hint, details].filter((part) => part !== "").join("\n");
}

function say(text: string): void {
  console.log(text);
}
