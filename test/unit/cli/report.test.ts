import { readFile } from "node:fs/promises";
import { PassThrough } from "node:stream";
import { stripVTControlCharacters } from "node:util";
import { expect, test } from "vitest";
import { renderReport, reportOf } from "../../../src/cli/report.ts";
import { RekernelError } from "../../../src/core/errors.ts";

const plain = new PassThrough() as unknown as NodeJS.WriteStream;

test("an expected failure is shown with hint, details and code, and no stack", () => {
  const error = new RekernelError("refused", "RK-EXAMPLE", "It cannot be done.", {
    hint: "Do this.\nOr that.",
    details: "first line\nsecond line\n",
  });
  expect(renderReport(reportOf(error), plain)).toBe(
    "rekernel: It cannot be done.\n  Do this.\n  Or that.\n    first line\n    second line\n  [RK-EXAMPLE]\n",
  );
  expect(reportOf(error).exitCode).toBe(4);
});

test("a terminal's lines are broken, but not what another program said of a failure", () => {
  const terminal = Object.assign(new PassThrough(), { isTTY: true, columns: 40 });
  const line = "word ".repeat(12).trim();
  const shown = (kind: "refused" | "failed") =>
    stripVTControlCharacters(
      renderReport(
        reportOf(new RekernelError(kind, "RK-EXAMPLE", line, { hint: line, details: line })),
        terminal as unknown as NodeJS.WriteStream,
      ),
    ).split("\n");
  expect(shown("refused").filter((each) => each.length > 40)).toEqual([]);
  expect(shown("failed").filter((each) => each.length > 40)).toEqual([`    ${line}`]);
});

test("a system error names the file and the reason", async () => {
  const error = await readFile("/nonexistent/file").catch((caught: unknown) => caught);
  expect(reportOf(error)).toEqual({
    code: "RK-FILE",
    message: "Cannot use /nonexistent/file: there is no such file.",
    exitCode: 1,
  });
});

test("anything else asks for a report and shows no stack", () => {
  const report = reportOf(new TypeError("x is not a function"));
  expect(report).toMatchObject({ code: "RK-INTERNAL", exitCode: 1 });
  const text = renderReport(report, plain);
  expect(text).toContain("x is not a function");
  expect(text).toContain("REKERNEL_DEBUG=1");
  expect(text).not.toMatch(/^\s+at /m);
});
