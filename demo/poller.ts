import { Agent, get } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { RekernelError } from "../src/core/errors.ts";

/** What the service in the guest says of itself (guest/service.mjs). */
export interface ServiceStatus {
  release: string;
  bootId: string;
  pid: number;
  /** How many requests this process has answered, this one included. */
  answers: number;
}

export interface Answer {
  /** When it arrived, as performance.now() has it. */
  atMs: number;
  status: ServiceStatus;
}

/** What a client saw of the service between two moments. */
export interface PollStatistics {
  answers: number;
  failures: number;
  /** Requests that ended, answered or not, per second. */
  perSecond: number;
  /** The longest time without an answer inside the window; its edges count as answers. */
  longestGapMs: number;
}

const intervalMs = 10;
const patienceMs = 2000;
/** During an outage, how often one more connection is tried beside those that wait for an answer already. */
const attemptEveryMs = 100;

/**
 * Asks an HTTP service about 100 times a second, over one connection that is kept, and remembers when it answered.
 * A request that fails is followed by one on a new connection.
 */
export class Poller {
  readonly #url: string;
  readonly #answers: Answer[] = [];
  readonly #failuresMs: number[] = [];
  #agent = newAgent();
  #stopped = false;
  #ended: Promise<void> | undefined;

  constructor(url: string) {
    this.#url = url;
  }

  start(): void {
    this.#ended ??= this.#run();
  }

  /** Ends after the request under way, and closes the connection. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#agent.destroy();
    await this.#ended;
  }

  get last(): Answer | undefined {
    return this.#answers.at(-1);
  }

  /** The first answer after a moment for which `wanted` holds, as soon as there is one. */
  async waitFor(
    wanted: (status: ServiceStatus) => boolean,
    options: { sinceMs?: number; timeoutMs: number; signal?: AbortSignal | undefined },
  ): Promise<Answer> {
    const untilMs = performance.now() + options.timeoutMs;
    for (let next = this.#indexAt(options.sinceMs ?? 0); ; ) {
      for (; next < this.#answers.length; next++)
        if (wanted(this.#answers[next]!.status)) return this.#answers[next]!;
      if (performance.now() > untilMs)
        throw new RekernelError(
          "failed",
          "RK-DEMO",
          `The service did not answer as it must within ${options.timeoutMs / 1000} s.`,
        );
      await sleep(intervalMs, undefined, options.signal === undefined ? {} : { signal: options.signal });
    }
  }

  /** The last answer that came from one boot of the guest. */
  lastOf(bootId: string): Answer | undefined {
    return this.#answers.findLast(({ status }) => status.bootId === bootId);
  }

  statistics(fromMs: number, toMs: number): PollStatistics {
    const inside = this.#answers.slice(this.#indexAt(fromMs), this.#indexAt(toMs));
    let longestGapMs = 0;
    let beforeMs = fromMs;
    for (const { atMs } of [...inside, { atMs: toMs }]) {
      longestGapMs = Math.max(longestGapMs, atMs - beforeMs);
      beforeMs = atMs;
    }
    const failures = this.#failuresMs.filter((atMs) => atMs >= fromMs && atMs < toMs).length;
    return {
      answers: inside.length,
      failures,
      perSecond: ((inside.length + failures) * 1000) / (toMs - fromMs),
      longestGapMs,
    };
  }

  /** Index of the first answer at or after a moment. */
  #indexAt(atMs: number): number {
    let low = 0;
    let high = this.#answers.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#answers[middle]!.atMs < atMs) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  async #run(): Promise<void> {
    let dueMs = performance.now();
    while (!this.#stopped) {
      try {
        this.#record(await ask(this.#url, this.#agent));
      } catch {
        this.#failuresMs.push(performance.now());
        this.#agent.destroy();
        await this.#reconnect();
      }
      // A late answer shifts what follows: no burst makes up for it.
      dueMs = Math.max(dueMs + intervalMs, performance.now());
      await sleep(Math.max(0, dueMs - performance.now()));
    }
  }

  /** Tries new connections side by side, so that one which hangs in a network that is not up delays nothing. */
  async #reconnect(): Promise<void> {
    const attempts = new Set<Agent>();
    const answered = Promise.withResolvers<Agent>();
    while (!this.#stopped) {
      const agent = newAgent();
      attempts.add(agent);
      ask(this.#url, agent).then(
        (status) => {
          if (!attempts.has(agent)) return;
          this.#record(status);
          answered.resolve(agent);
        },
        () => {
          if (!attempts.delete(agent)) return;
          this.#failuresMs.push(performance.now());
          agent.destroy();
        },
      );
      const winner = await Promise.race([answered.promise, sleep(attemptEveryMs)]);
      if (winner === undefined) continue;
      attempts.delete(winner);
      this.#agent = winner;
      break;
    }
    const losers = [...attempts];
    attempts.clear();
    for (const agent of losers) agent.destroy();
  }

  #record(status: ServiceStatus): void {
    this.#answers.push({ atMs: performance.now(), status });
  }
}

function ask(url: string, agent: Agent): Promise<ServiceStatus> {
  return new Promise((resolve, reject) => {
    const request = get(url, { agent, signal: AbortSignal.timeout(patienceMs) }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (text: string) => {
        body += text;
      });
      response.on("error", reject);
      response.on("end", () => {
        try {
          resolve(JSON.parse(body) as ServiceStatus);
        } catch (error) {
          reject(error);
        }
      });
    });
    request.on("error", reject);
  });
}

function newAgent(): Agent {
  return new Agent({ keepAlive: true, maxSockets: 1 });
}
