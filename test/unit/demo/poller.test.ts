import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import { Poller, type ServiceStatus } from "../../../demo/poller.ts";

const servers: Server[] = [];
const pollers: Poller[] = [];

afterEach(async () => {
  await Promise.all(pollers.splice(0).map((poller) => poller.stop()));
  for (const server of servers.splice(0)) await close(server);
});

/** A service like the guest's, from one "boot". */
async function serve(bootId: string, port = 0): Promise<{ server: Server; port: number }> {
  let answers = 0;
  const server = createServer((_request, response) => {
    const status: ServiceStatus = { release: "6.12", bootId, pid: 1, answers: ++answers };
    response.end(JSON.stringify(status));
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  return { server, port: (server.address() as AddressInfo).port };
}

function close(server: Server): Promise<void> {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(() => resolve()));
}

function poll(port: number): Poller {
  const poller = new Poller(`http://127.0.0.1:${port}/`);
  pollers.push(poller);
  poller.start();
  return poller;
}

const inTime = { timeoutMs: 20_000 };

test("counts answers, and loses none while the service is there", async () => {
  const poller = poll((await serve("a")).port);
  const fromMs = performance.now();
  await poller.waitFor(({ answers }) => answers >= 20, inTime);
  const seen = poller.statistics(fromMs, performance.now());
  expect(seen.failures).toBe(0);
  expect(seen.answers).toBeGreaterThanOrEqual(20);
  expect(seen.answers).toBe(poller.last!.status.answers);
});

test("sees an outage as long as it was, and the service that comes after it", async () => {
  const first = await serve("a");
  const poller = poll(first.port);
  await poller.waitFor(({ answers }) => answers >= 3, inTime);
  const goneMs = performance.now();
  await close(first.server);
  await sleep(300);
  const backMs = performance.now();
  await serve("b", first.port);
  const back = await poller.waitFor(({ bootId }) => bootId === "b", { ...inTime, sinceMs: goneMs });

  expect(back.atMs).toBeGreaterThanOrEqual(backMs);
  const lastOfOld = poller.lastOf("a")!;
  const seen = poller.statistics(goneMs, performance.now());
  expect(seen.failures).toBeGreaterThan(0);
  expect(seen.longestGapMs).toBeGreaterThanOrEqual(backMs - Math.max(goneMs, lastOfOld.atMs));
  expect(poller.lastOf("c")).toBeUndefined();
});

test("a service that accepts and never answers does not hold up what comes after it", async () => {
  const silent = createServer(() => {});
  servers.push(silent);
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  const { port } = silent.address() as AddressInfo;
  const poller = poll(port);
  await sleep(100);
  await close(silent);
  await serve("b", port);
  expect((await poller.waitFor(() => true, inTime)).status.bootId).toBe("b");
});

test("an answer that never comes is an error with a code", async () => {
  const poller = poll((await serve("a")).port);
  await expect(poller.waitFor(() => false, { timeoutMs: 50 })).rejects.toMatchObject({ code: "RK-DEMO" });
});

test("a window without answers is one gap", async () => {
  const { server, port } = await serve("a");
  await close(server);
  const poller = poll(port);
  expect(poller.statistics(1000, 3000)).toEqual({
    answers: 0,
    failures: 0,
    perSecond: 0,
    longestGapMs: 2000,
  });
});
