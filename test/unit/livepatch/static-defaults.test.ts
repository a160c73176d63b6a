import { describe, expect, it } from "vitest";
import { withoutAccepted, withoutIgnored } from "../../../src/livepatch/build/author/directives.ts";
import { differenceOf } from "../../../src/livepatch/build/difference/difference.ts";
import { compile } from "./compile.ts";

const keys = `
struct static_key key = { 0, 0 };
static struct static_key local = { 1, 1 };
int check(int x) { return static_branch(&key) ? x : static_branch(&local) ? x * 2 : 3; }
`;
const calls = `
void one(void); void two(void);
struct static_call_key { void (*func)(void); ulong type; };
struct static_call_key __SCK__hook = { one, 0 };
ulong ordinary = 4;
`;
const differ = (source: string, from: string, to: string) => {
  expect(source).toContain(from);
  return differenceOf(compile(source), compile(source.replace(from, to)));
};

describe("defaults that the kernel has acted on", () => {
  it("of static keys are refused, whatever the author vouches for", () => {
    const { problems } = differ(keys, "local = { 1, 1 }", "local = { 0, 0 }");
    expect(problems).toMatchObject([
      {
        code: "RK-DATA-CHANGE",
        message: expect.stringContaining("compiled by its default"),
        hint: expect.stringContaining("static_branch_disable(&local)"),
      },
    ]);
    expect(differ(keys, "key = { 0, 0 }", "key = { 1, 1 }").problems).toMatchObject([
      { hint: expect.stringContaining("static_branch_enable(&key)") },
    ]);
    const directives = [
      { kind: "accept", code: "RK-DATA-CHANGE", subject: "local", reason: "it looks fine" },
    ] as const;
    expect(withoutAccepted(problems, directives).problems).toHaveLength(1);
    const ignored = { kind: "ignore-section", name: problems[0]!.section! } as const;
    const difference = differ(keys, "local = { 1, 1 }", "local = { 0, 0 }");
    expect(withoutIgnored(difference, [ignored]).difference.problems).toHaveLength(1);
  });

  it("of static calls can be set from a callback", () => {
    expect(differ(calls, "{ one, 0 }", "{ two, 0 }").problems).toMatchObject([
      {
        code: "RK-DATA-CHANGE",
        subject: "__SCK__hook",
        hint: expect.stringContaining("static_call_update(hook, two)"),
      },
    ]);
  });

  it("are no matter of other data", () => {
    expect(differ(calls, "ordinary = 4", "ordinary = 5").problems).toMatchObject([
      { subject: "ordinary", hint: expect.stringContaining("ordinary = 5;") },
    ]);
  });
});
