import type { CommandContext } from "../src/cli/context.ts";
import { type DemoGuest, type Trial, unexpected } from "./guest.ts";
import type { PollStatistics } from "./poller.ts";

const columns = 80;
const margin = 3;

/** Tells the story: chapters, the commands that are run, what they print. */
export class Stage {
  readonly #context: CommandContext;

  constructor(context: CommandContext) {
    this.#context = context;
  }

  chapter(number: number, title: string): void {
    this.#context.print(`\n${this.#context.style(["bold", "cyan"], `${number}  ${title}`)}`);
  }

  /** A paragraph, broken into lines. */
  say(text: string): void {
    let line = " ".repeat(margin);
    for (const word of text.split(" ")) {
      if (line.length + 1 + word.length > columns) {
        this.#context.print(line);
        line = " ".repeat(margin);
      }
      line += line.length === margin ? word : ` ${word}`;
    }
    this.#context.print(line);
  }

  /** A command that runs on this machine. */
  onHost(line: string): void {
    this.#command("$", line);
  }

  /** A command that runs in the guest, as root. */
  inGuest(...lines: string[]): void {
    this.#command("guest#", ...lines);
  }

  #command(prompt: string, ...lines: string[]): void {
    for (const [index, line] of lines.entries())
      this.#context.print(`   ${index === 0 ? `${prompt} ` : ""}${this.#context.style("bold", line)}`);
  }

  /** Output of a command, or part of a file. */
  quote(text: string): void {
    const room = columns - margin - 2;
    for (const line of text.trimEnd().replaceAll("\t", "  ").split("\n")) {
      const shown = line.length <= room ? line : `${line.slice(0, room - 1)}…`;
      this.#context.print(`   ${this.#context.style("dim", `| ${shown}`)}`);
    }
  }

  /** Shows what the trigger of the defect said, and insists that it is as it must be. */
  trial({ defect, output }: Trial, expected: boolean): void {
    this.inGuest("sh demo/guest/cgroup-kill.sh");
    this.quote(output);
    if (defect !== expected) throw unexpected(expected ? "the defect is not there" : "the defect is there");
    this.#context.print(
      `   ${defect ? this.#context.style("red", "The defect is there.") : this.#context.style("green", "The defect is gone.")}`,
    );
  }

  /** Runs `rekernel` in the guest while the client outside looks at the service. */
  async watched(guest: DemoGuest, ...args: string[]): Promise<PollStatistics> {
    this.inGuest(`rekernel ${args.join(" ")}`);
    const { result, seen } = await guest.watch(() => guest.rekernel(...args));
    this.quote(result);
    if (seen.failures > 0)
      throw unexpected(`${seen.failures} of ${seen.answers + seen.failures} polls failed`);
    this.say(
      `${seen.answers} answers meanwhile, none missing; longest gap ${seen.longestGapMs.toFixed(0)} ms.`,
    );
    return seen;
  }

  table(rows: readonly (readonly [string, string])[]): void {
    const width = Math.max(...rows.map(([what]) => what.length));
    this.#context.print("");
    for (const [what, value] of rows)
      this.#context.print(`   ${what.padEnd(width)}   ${this.#context.style("bold", value)}`);
  }
}
