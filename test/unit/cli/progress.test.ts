import { PassThrough } from "node:stream";
import { stripVTControlCharacters } from "node:util";
import { expect, test } from "vitest";
import { createProgressView, formatElapsed } from "../../../src/cli/progress.ts";

/** A stream that keeps what was written to it. */
function sink(extra: object = {}): { stream: NodeJS.WriteStream; text: () => string } {
  const stream = Object.assign(new PassThrough(), extra);
  let text = "";
  stream.on("data", (data) => (text += data));
  return { stream: stream as unknown as NodeJS.WriteStream, text: () => text };
}

const start = { type: "start", step: "trees", title: "Preparing the trees" } as const;
const update = { type: "update", step: "trees", note: "unpacking", fraction: 0.42 } as const;
const done = { type: "done", step: "trees", title: "Preparing the trees", elapsedMs: 12_345 } as const;

test("a pipe gets plain lines at a step's start and end", async () => {
  const { stream, text } = sink();
  const view = createProgressView(stream, false);
  for (const event of [start, update, done]) view.show(event);
  await new Promise(setImmediate);
  expect(text()).toBe("Preparing the trees ...\nPreparing the trees: done in 12 s\n");
});

test("--json gets every event as a line", async () => {
  const { stream, text } = sink();
  const view = createProgressView(stream, true);
  for (const event of [start, update, done]) view.show(event);
  await new Promise(setImmediate);
  const lines = text()
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(lines).toEqual([{ progress: start }, { progress: update }, { progress: done }]);
});

test.each([
  [400, "0.4 s"],
  [9_960, "10 s"],
  [59_400, "59 s"],
  [125_000, "2 min 05 s"],
])("%d ms are %s", (elapsedMs, text) => {
  expect(formatElapsed(elapsedMs)).toBe(text);
});

test("a terminal gets a live line that the finished one replaces", async () => {
  const { CI: ci, TERM: term } = process.env;
  delete process.env.CI;
  process.env.TERM = "xterm";
  const { stream, text } = sink({ isTTY: true, columns: 60, rows: 24 });
  const view = createProgressView(stream, false);
  view.show(start);
  view.show(update);
  view.show(done);
  view.close();
  await new Promise(setImmediate);
  if (ci !== undefined) process.env.CI = ci;
  process.env.TERM = term ?? "";
  const [live, finished] = text().split("\u001b[1A\u001b[0J");
  expect(live).toBe("  Preparing the trees 0.0 s\n");
  expect(stripVTControlCharacters(finished ?? "")).toBe("✓ Preparing the trees 12 s\n");
});
