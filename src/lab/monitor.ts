import type { Duplex } from "node:stream";
import { RekernelError } from "../core/errors.ts";
import { onLines } from "./lines.ts";

/** An event of the emulator, e.g. SHUTDOWN or RESET (qapi/run-state.json). */
export interface MonitorEvent {
  event: string;
  data: { guest?: boolean; reason?: string };
}

/** The emulator's machine protocol (QMP): one JSON document a line. */
export class Monitor {
  readonly #stream: Duplex;
  readonly #waiting = new Map<
    number,
    { resolve: (value: unknown) => void; reject: (error: Error) => void }
  >();
  #lastId = 0;
  #closed = false;

  constructor(stream: Duplex, onEvent: (event: MonitorEvent) => void) {
    this.#stream = stream;
    onLines(stream, (line) => {
      const message = JSON.parse(line);
      if (typeof message.event === "string") onEvent({ event: message.event, data: message.data ?? {} });
      const waiting = this.#waiting.get(message.id);
      if (!waiting) return;
      this.#waiting.delete(message.id);
      if (message.error) waiting.reject(monitorError(String(message.error.desc)));
      else waiting.resolve(message.return);
    });
    stream.on("close", () => {
      this.#closed = true;
      for (const { reject } of this.#waiting.values()) reject(monitorError("the emulator has ended"));
      this.#waiting.clear();
    });
    // Nothing else is accepted before this.
    this.execute("qmp_capabilities").catch(() => {});
  }

  /** Runs one command and returns what it returns. */
  execute(command: string, args: object = {}): Promise<unknown> {
    if (this.#closed) return Promise.reject(monitorError("the emulator has ended"));
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#stream.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    });
  }
}

function monitorError(reason: string): RekernelError {
  return new RekernelError("failed", "RK-LAB-EMULATOR", `The emulator's monitor refused: ${reason}.`);
}
