import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { renderGuide } from "../../../scripts/write-json-docs.ts";
import { documents, errorDocument, progressLine } from "../../../src/documents/documents.ts";
import { allCommands, rekernel, root } from "../cli/run.ts";

test("docs/json.md is what scripts/write-json-docs.ts writes", () => {
  expect(readFileSync(join(root, "docs/json.md"), "utf8")).toBe(renderGuide());
});

test("every command has a documented document, and every document a command", async () => {
  const documented = new Set(Object.keys(documents).map((name) => name.replace(/ \(.*\)$/, "")));
  const commands = (await allCommands()).map((words) => ["rekernel", ...words].join(" "));
  expect([...documented].sort()).toEqual(commands.sort());
});

test("what the commands print fits the documents", async () => {
  const doctor = await rekernel(["doctor", "build", "livepatch", "kexec", "--json"]);
  documents["rekernel doctor"]!.parse(JSON.parse(doctor.stdout));
  const status = await rekernel(["kexec", "status", "--json"]);
  documents["rekernel kexec status"]!.parse(JSON.parse(status.stdout));
});

test("an error fits its document, in every command", async () => {
  // kexec compat has kexec-tools' exit codes, and takes all words behind the first for options of kexec.
  const commands = (await allCommands()).filter((words) => words.at(-1) !== "compat");
  const results = await Promise.all(
    commands.map((words) => rekernel([...words, "--no-such-option", "--json"])),
  );
  for (const { exitCode, stdout } of results) {
    const { error } = errorDocument.parse(JSON.parse(stdout));
    expect(error.exitCode).toBe(2);
    expect(exitCode).toBe(2);
  }
});

test("progress lines fit their document", () => {
  for (const progress of [
    { type: "start", step: "trees", title: "Trees" },
    { type: "update", step: "trees", note: "unpacking" },
    { type: "done", step: "trees", title: "Trees", elapsedMs: 1.5 },
  ])
    progressLine.parse({ progress });
  expect(progressLine.safeParse({ progress: { type: "failed", step: "trees" } }).success).toBe(false);
});
