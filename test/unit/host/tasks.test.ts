import { expect, test } from "vitest";
import { parseStack, waitingTasks } from "../../../src/host/tasks.ts";
import { fixtureHost } from "./fixture-host.ts";

const stack = `[<0>] do_sys_poll+0x504/0x610
[<0>] __x64_sys_poll+0x4e/0x140
[<0>] do_syscall_64+0x87/0x1b0
[<0>] entry_SYSCALL_64_after_hwframe+0x76/0x7e
`;

test("reads a kernel stack", () => {
  expect(parseStack(stack)[0]).toBe("do_sys_poll+0x504/0x610");
  expect(parseStack(stack)).toHaveLength(4);
  expect(parseStack("")).toEqual([]);
});

test("finds every thread that has not changed sides", async () => {
  const task = (pid: number, tid: number, state: string, comm: string) => ({
    [`/proc/${pid}/task/${tid}/patch_state`]: `${state}\n`,
    [`/proc/${pid}/task/${tid}/comm`]: `${comm}\n`,
    [`/proc/${pid}/task/${tid}/stack`]: stack,
  });
  const host = fixtureHost({
    ...task(1, 1, "1", "init"),
    ...task(20, 20, "0", "server"),
    ...task(20, 21, "0", "server/worker"),
    ...task(30, 30, "-1", "forked"),
    "/proc/self/status": "",
  });
  const toPatched = await waitingTasks(1, { stacks: true }, host);
  expect(toPatched.map(({ tid }) => tid).sort()).toEqual([20, 21]);
  expect(toPatched.find(({ tid }) => tid === 21)).toMatchObject({ pid: 20, command: "server/worker" });
  expect(toPatched[0]?.stack[0]).toBe("do_sys_poll+0x504/0x610");
  expect((await waitingTasks(0, {}, host)).map(({ tid }) => tid)).toEqual([1]);
});
