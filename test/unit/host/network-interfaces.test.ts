import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { takeInterfacesDown } from "../../../src/host/network-interfaces.ts";
import { fixtureHost } from "./fixture-host.ts";

test("takes all interfaces down but the loopback, and leaves the rest of their flags", async () => {
  const host = fixtureHost({
    "/sys/class/net/lo/flags": "0x9\n",
    "/sys/class/net/eth0/flags": "0x1003\n",
    "/sys/class/net/eth1/flags": "0x1002\n",
    "/sys/class/net/bonding_masters": "bond0\n",
  });
  const flags = (name: string) => readFileSync(`${host.sys}/class/net/${name}/flags`, "utf8");
  expect(await takeInterfacesDown(host)).toEqual([]);
  expect([flags("lo"), flags("eth0"), flags("eth1")]).toEqual(["0x9\n", "0x1002", "0x1002\n"]);
});

test("a machine without network has nothing to take down", async () => {
  expect(await takeInterfacesDown(fixtureHost({}))).toEqual([]);
});
