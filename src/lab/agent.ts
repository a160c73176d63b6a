import { mkdir, open, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { RekernelError } from "../core/errors.ts";
import { writeError } from "../core/files.ts";
import { quote } from "./guest-scripts.ts";
import { onLines } from "./lines.ts";

/** What one command is given besides its text. */
export interface RunOptions {
  /** Kills the command and throws RK-LAB-TIMEOUT after this long. Default: no limit. */
  timeoutMs?: number | undefined;
  /** The command's standard input. Default: empty. */
  input?: string | Uint8Array | undefined;
  /** Working folder in the guest. Default: `/`. */
  cwd?: string | undefined;
  /** Called with output as it appears, in pieces; what `run` returns is complete all the same. */
  onStdout?: ((data: Uint8Array) => void) | undefined;
  onStderr?: ((data: Uint8Array) => void) | undefined;
}

/** A finished command. `exitCode` is the shell's: 128 + N for a command that signal N ended. */
export interface RunBytes {
  exitCode: number;
  stdout: Uint8Array;
  stderr: Uint8Array;
}

/** One boot of the guest, as it announced itself. */
export interface Boot {
  /** /proc/sys/kernel/random/boot_id */
  id: string;
  /** `uname -r` */
  release: string;
}

interface Job {
  started: PromiseWithResolvers<number>;
  done: PromiseWithResolvers<number>;
}

/**
 * The host's side of the guest agent: see guest-scripts.ts for the lines that go to and fro.
 * Whatever a job reads and writes is a file in `folder`/jobs/ID, so nothing is lost when the guest dies.
 */
export class Agent {
  readonly #channel: Duplex;
  readonly #folder: string;
  readonly #jobs = new Map<string, Job>();
  #lastJob = 0;
  #gone: Error | undefined;

  constructor(
    channel: Duplex,
    folder: string,
    on: { sign(): void; boot(boot: Boot): void; fail(reason: string): void },
  ) {
    this.#channel = channel;
    this.#folder = folder;
    onLines(channel, (line) => {
      on.sign();
      const [verb, first = "", second = ""] = line.split(" ");
      if (verb === "pid") this.#jobs.get(first)?.started.resolve(Number(second));
      else if (verb === "done") this.#jobs.get(first)?.done.resolve(Number(second));
      else if (verb === "fail") on.fail(line.slice("fail ".length));
      // The serial port may still hold half a line of a kernel that is gone.
      else if (verb?.endsWith("hello") && second !== "") {
        this.#dropJobs(
          new RekernelError("failed", "RK-LAB-RESTARTED", "The guest restarted while the command ran."),
        );
        on.boot({ id: first, release: second });
      }
    });
  }

  /** No more commands: those that run, and all later ones, fail with `reason`. */
  close(reason: Error): void {
    this.#gone ??= reason;
    this.#dropJobs(reason);
  }

  /** Runs a command to its end. */
  async run(command: string | readonly string[], options: RunOptions = {}): Promise<RunBytes> {
    const { id, job, folder } = await this.#start(command, options);
    let timer: NodeJS.Timeout | undefined;
    const followers = [
      follow(join(folder, "out"), options.onStdout),
      follow(join(folder, "err"), options.onStderr),
    ];
    try {
      const limit = new Promise<never>((_, reject) => {
        if (options.timeoutMs === undefined) return;
        timer = setTimeout(() => {
          job.started.promise.then((pid) => this.#channel.write(`kill ${pid}\n`));
          reject(
            new RekernelError(
              "failed",
              "RK-LAB-TIMEOUT",
              `The command did not end within ${options.timeoutMs} ms in the guest: ${shown(command)}.`,
            ),
          );
        }, options.timeoutMs);
      });
      const exitCode = await Promise.race([job.done.promise, limit]);
      return {
        exitCode,
        stdout: await readFile(join(folder, "out")),
        stderr: await readFile(join(folder, "err")),
      };
    } finally {
      clearTimeout(timer);
      await Promise.all(followers.map((stop) => stop()));
      this.#jobs.delete(id);
      await rm(folder, { recursive: true, force: true });
    }
  }

  /** Starts a command in the background and returns its process id in the guest. */
  async start(command: string | readonly string[], options: RunOptions = {}): Promise<{ pid: number }> {
    const { job } = await this.#start(command, options);
    return { pid: await job.started.promise };
  }

  async #start(command: string | readonly string[], options: RunOptions) {
    if (this.#gone) throw this.#gone;
    const id = String(++this.#lastJob);
    // The folder goes with the guest, also under our hands.
    const folder = await writeJob(this.#folder, id, command, options).catch((error) => {
      throw this.#gone ?? error;
    });
    if (this.#gone) throw this.#gone;
    const job: Job = { started: Promise.withResolvers(), done: Promise.withResolvers() };
    // Not every caller waits for both.
    job.started.promise.catch(() => {});
    job.done.promise.catch(() => {});
    this.#jobs.set(id, job);
    this.#channel.write(`run ${id}\n`);
    return { id, job, folder };
  }

  #dropJobs(reason: Error): void {
    for (const { started, done } of this.#jobs.values()) {
      started.reject(reason);
      done.reject(reason);
    }
    this.#jobs.clear();
  }
}

/** Lays a job out for the guest and returns its folder on the host. */
export async function writeJob(
  labFolder: string,
  id: string,
  command: string | readonly string[],
  options: { input?: string | Uint8Array | undefined; cwd?: string | undefined } = {},
): Promise<string> {
  const folder = join(labFolder, "jobs", id);
  const directory = options.cwd === undefined ? "" : `cd ${quote(options.cwd)} || exit 127\n`;
  const script = typeof command === "string" ? command : `exec ${command.map(quote).join(" ")}`;
  try {
    // Not recursive: what has been removed with the guest must not come back.
    await mkdir(folder);
    await writeFile(join(folder, "run"), `${directory}${script}\n`);
    await writeFile(join(folder, "out"), "");
    await writeFile(join(folder, "err"), "");
    if (options.input !== undefined && options.input.length > 0)
      await writeFile(join(folder, "in"), options.input);
  } catch (error) {
    throw writeError(folder, error);
  }
  return folder;
}

/** How a command is named in messages. */
export function shown(command: string | readonly string[]): string {
  const text = typeof command === "string" ? command : command.join(" ");
  return text.length > 120 ? `${text.slice(0, 117)}...` : text;
}

const followIntervalMs = 100;

/** Passes a growing file on as it grows; the returned function passes the rest on and stops. */
function follow(path: string, listener: ((data: Uint8Array) => void) | undefined): () => Promise<void> {
  if (!listener) return async () => {};
  let offset = 0;
  let reading = Promise.resolve();
  const read = async () => {
    const handle = await open(path).catch(() => undefined);
    if (!handle) return;
    try {
      for (;;) {
        const { buffer, bytesRead } = await handle.read(Buffer.alloc(65_536), 0, 65_536, offset);
        if (bytesRead === 0) return;
        offset += bytesRead;
        listener(buffer.subarray(0, bytesRead));
      }
    } finally {
      await handle.close();
    }
  };
  const timer = setInterval(() => {
    reading = reading.then(read);
  }, followIntervalMs);
  return async () => {
    clearInterval(timer);
    await reading.then(read);
  };
}
