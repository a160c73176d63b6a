import { spawn } from "node:child_process";
import type { Duplex } from "node:stream";
import { hasErrno, RekernelError } from "../core/errors.ts";

/**
 * Runs the emulator ("$@") once the owner says "go", and outlives its owner just long enough to clean up:
 * the owner holds the other end of standard input, so when it ends in any way, even by SIGKILL, `read`
 * returns, the emulator is killed and the private folder removed. The shell gives up standard error, whose
 * reader goes with the owner, because it reports killed jobs there and would die of it. Should the shell
 * itself be killed, the kernel kills the emulator (PR_SET_PDEATHSIG, by setpriv).
 */
const supervisor = `
folder=$1; shift
read -r go
if [ "$go" != go ]; then rm -rf -- "$folder"; exit 1; fi
exec 9<&0 </dev/null
if command -v setpriv >/dev/null; then set -- setpriv --pdeathsig KILL "$@"; fi
"$@" 9<&- &
emulator=$!
{ read -r _ <&9; kill -9 $emulator; } 3<&- 4<&- 5<&- 2>/dev/null &
watcher=$!
exec 3<&- 4<&- 5<&- 9<&- 2>/dev/null
trap 'kill -9 $emulator 2>/dev/null' TERM INT HUP
wait $emulator
code=$?
kill $watcher 2>/dev/null
# The owner may be writing there at this moment.
for attempt in 1 2 3 4 5; do rm -rf -- "$folder" 2>/dev/null && break; sleep 0.1; done
exit $code
`;

/** An emulator under supervision, with its three channels: see {@link startSupervised}. */
export interface SupervisedProcess {
  /** File descriptors 3, 4 and 5 of the emulator, each a connected stream socket. */
  console: Duplex;
  control: Duplex;
  monitor: Duplex;
  /** What it wrote to standard error so far (the last 64 KiB). */
  stderr(): string;
  /** Resolves when the emulator is gone and `folder` is removed. */
  ended: Promise<{ exitCode: number | null }>;
  /** Starts the emulator: from then on it may read its files. */
  start(): void;
  /** Ends it at once. */
  kill(): void;
}

/**
 * Prepares an emulator that cannot outlive this process; `folder` is removed after it, or without it when
 * it is never started.
 *
 * @throws RekernelError RK-TOOL-MISSING (5) when there is no shell; a missing emulator is the caller's to check
 */
export function startSupervised(command: readonly string[], folder: string): SupervisedProcess {
  const child = spawn("/bin/sh", ["-c", supervisor, "rekernel-lab", folder, ...command], {
    // A session of its own: Ctrl-C in the terminal reaches the owner, which then ends the emulator.
    detached: true,
    stdio: ["pipe", "ignore", "pipe", "pipe", "pipe", "pipe"],
  });
  const [lifeLine, , errors, console_, control, monitor] = child.stdio as unknown as Duplex[];
  let stderr = "";
  errors!.on("data", (data: Buffer) => {
    stderr = (stderr + data.toString()).slice(-65_536);
  });
  // The other ends vanish with the emulator; `ended` tells.
  for (const stream of [lifeLine!, errors!, console_!, control!, monitor!]) stream.on("error", () => {});
  const ended = new Promise<{ exitCode: number | null }>((resolve, reject) => {
    child.on("close", (exitCode) => resolve({ exitCode }));
    child.on("error", (error) =>
      reject(
        hasErrno(error) && error.code === "ENOENT"
          ? new RekernelError("machineCannot", "RK-TOOL-MISSING", "This machine has no /bin/sh.", {
              cause: error,
            })
          : error,
      ),
    );
  });
  return {
    console: console_!,
    control: control!,
    monitor: monitor!,
    stderr: () => stderr,
    ended,
    start: () => lifeLine!.write("go\n"),
    kill: () => lifeLine!.end(),
  };
}
