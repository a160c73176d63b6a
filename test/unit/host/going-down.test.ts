import fc from "fast-check";
import { expect, test } from "vitest";
import { parseMountInfo } from "../../../src/host/mounts.ts";
import { type ProcessStatus, parseProcessStatus, programsToEnd } from "../../../src/host/processes.ts";
import { unmountOrder } from "../../../src/host/unmount.ts";

test("a process's status line is read, whatever its name", () => {
  const text = "2211 (tmux: (s) R 9) S 1 2211 2211 0 -1 4194368 1031 5123 1 6 21 11 11 5 20 0 1 0 8157";
  expect(parseProcessStatus(text)).toEqual({
    pid: 2211,
    command: "tmux: (s) R 9",
    parent: 1,
    session: 2211,
    zombie: false,
  });
  expect(parseProcessStatus("7 (x) Z 1 7 7 0 -1 4")).toMatchObject({ zombie: true });
  expect(parseProcessStatus("")).toBeUndefined();
});

test("no text makes the parser throw", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => void parseProcessStatus(text)));
});

const process = (pid: number, parent: number, session: number, more: Partial<ProcessStatus> = {}) => ({
  pid,
  command: `p${pid}`,
  parent,
  session,
  zombie: false,
  ...more,
});

test("everything ends but process 1, kernel threads, what we hang on, and storage daemons", () => {
  const all = [
    process(1, 0, 1),
    process(2, 0, 0),
    process(100, 1, 100), // sshd, above us
    process(110, 100, 110), // the shell
    process(111, 110, 110), // ourselves
    process(112, 110, 110), // our session
    process(200, 1, 200), // a service
    process(201, 200, 200),
    process(300, 1, 300), // mdmon
    process(400, 1, 400, { zombie: true }),
  ];
  const lines = new Map(all.map(({ pid }) => [pid, pid === 2 ? "" : pid === 300 ? "@sbin/mdmon" : "/bin/x"]));
  expect(programsToEnd(all, lines, 111).map(({ pid }) => pid)).toEqual([200, 201]);
});

test("a circle of parents ends", () => {
  const all = [process(5, 6, 5), process(6, 5, 6)];
  const lines = new Map(all.map(({ pid }) => [pid, "x"]));
  expect(programsToEnd(all, lines, 5)).toEqual([]);
});

test("what was mounted last goes first; what the kernel makes up, and the root, stay", () => {
  const mounts = parseMountInfo(
    [
      "20 1 254:1 / / rw - ext4 /dev/vda1 rw",
      "21 20 0:5 / /proc rw - proc proc rw",
      "22 20 254:2 / /srv rw - xfs /dev/vda2 rw",
      "23 22 0:40 / /srv/nfs rw - nfs4 server:/x rw",
      "24 20 0:41 / /run rw - tmpfs tmpfs rw",
    ].join("\n"),
  );
  expect(unmountOrder(mounts).map(({ mountPoint }) => mountPoint)).toEqual(["/srv/nfs", "/srv"]);
});
