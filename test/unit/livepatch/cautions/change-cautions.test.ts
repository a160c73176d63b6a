import { describe, expect, it } from "vitest";
import { changeCautions } from "../../../../src/livepatch/build/cautions/change-cautions.ts";
import { differenceOf } from "../../../../src/livepatch/build/difference/difference.ts";
import { includedPieces } from "../../../../src/livepatch/build/module/inclusion.ts";
import { compile } from "../compile.ts";

const declarations = `
int kthread_should_stop(void);
void schedule(void);
void work(int);
int busy(void);
struct task;
struct task *kthread_create_on_node(int (*f)(void *), void *data, int node, const char *name, ...);
void timer_setup_like(void *timer, void (*f)(int));
void sort(void *base, int n, int (*cmp)(int, int));
struct thing { void (*release)(int); int n; };
`;

/** Cautions of the change of one text by another, as code and message. */
function cautions(source: string, from: string, to: string): [string, string][] {
  const text = declarations + source;
  if (!text.includes(from)) throw new Error(`no ${from}`);
  const [original, patched] = [compile(text), compile(text.replace(from, to))];
  const difference = differenceOf(original, patched);
  expect(difference.problems).toEqual([]);
  const included = includedPieces(difference, patched, () => true);
  return changeCautions(difference, original, included, []).map(({ code, message }) => [code, message]);
}

describe("functions that stay on a stack", () => {
  it("are loops that ask whether the thread is to stop", () => {
    const loop =
      "int poller(void *data)\n{\n\twhile (!kthread_should_stop()) { work(1); schedule(); }\n\treturn 0;\n}";
    expect(cautions(loop, "work(1)", "work(2)")).toMatchObject([
      ["RK-CAUTION-NEVER-LEFT", expect.stringMatching(/^poller .*kthread_should_stop\(\)/)],
    ]);
  });

  it("are not those that ask once", () => {
    const once = "int step(int x)\n{\n\tif (kthread_should_stop()) return 1;\n\twork(x);\n\treturn 0;\n}";
    expect(cautions(once, "work(x)", "work(x + 1)")).toEqual([]);
  });

  it("are loops that a kernel thread is started in", () => {
    const started = `static int serve(void *data)
{
	while (busy()) work(1);
	return 0;
}
struct task *start(void *data) { return kthread_create_on_node(serve, data, -1, "serve"); }`;
    expect(cautions(started, "work(1)", "work(2)")).toMatchObject([
      ["RK-CAUTION-NEVER-LEFT", expect.stringMatching(/^serve .*start starts a kernel thread in it/)],
    ]);
    // The one that starts it is left at once.
    expect(cautions(started, "-1", "-2")).toEqual([]);
  });

  it("are endless loops, and not endless ones with a way out", () => {
    const endless = "void idle(void)\n{\n\tfor (;;) { work(1); if (busy()) work(3); }\n}";
    expect(cautions(endless, "work(1)", "work(2)")).toMatchObject([
      ["RK-CAUTION-NEVER-LEFT", expect.stringContaining("for ever")],
    ]);
    expect(cautions(endless.replace("work(3)", "return"), "work(1)", "work(2)")).toEqual([]);
  });

  it("are loops that sleep, less surely", () => {
    const waits = "int waits(int x)\n{\n\twhile (!busy()) schedule();\n\treturn x * 3;\n}";
    expect(cautions(waits, "x * 3", "x * 4")).toMatchObject([
      ["RK-CAUTION-SLEEPS-IN-LOOP", expect.stringMatching(/^waits calls schedule\(\)/)],
    ]);
    expect(cautions(waits.replace("while", "if"), "x * 3", "x * 4")).toEqual([]);
  });
});

describe("addresses of new functions", () => {
  const kernel = "void begin(struct thing *t) { BODY }\nvoid other(int x) { work(x); }\n";
  const expired = "static noinline void expired(int x) { work(x + 3); }\n";
  /** A patch that puts this into begin(), and something new before it. */
  const begin = (body: string, before = expired) =>
    cautions(
      kernel.replace("BODY", "t->n = 1;"),
      "void begin(struct thing *t) { t->n = 1;",
      `${before}void begin(struct thing *t) { ${body}`,
    );

  it("are kept where they are stored, or passed to a function that may keep them", () => {
    expect(begin("t->release = expired;")).toMatchObject([
      [
        "RK-CAUTION-POINTER-KEPT",
        expect.stringMatching(/expired, a new function, goes into memory that begin writes/),
      ],
    ]);
    expect(begin("timer_setup_like(t, expired);")).toMatchObject([
      ["RK-CAUTION-POINTER-KEPT", expect.stringContaining("timer_setup_like()")],
    ]);
  });

  it("are kept in new tables of operations", () => {
    const table = `${expired}static const struct thing ops = { expired, 3 };\nvoid keep(const void *);\n`;
    expect(begin("keep(&ops);", table)).toMatchObject([
      ["RK-CAUTION-POINTER-KEPT", expect.stringContaining("goes into ops")],
    ]);
  });

  it("are not where a new function is only called, or passed to one that calls it at once", () => {
    expect(begin("expired(t->n);")).toEqual([]);
    const compare = "static noinline int compare(int a, int b) { return a - b; }\n";
    expect(begin("sort(t, t->n, compare);", compare)).toEqual([]);
  });

  it("are not those of functions that the kernel has", () => {
    expect(begin("t->release = other;", "void other(int x);\n")).toEqual([]);
  });
});
