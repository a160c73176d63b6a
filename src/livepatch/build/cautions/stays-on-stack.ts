/**
 * Functions that tasks do not leave, or not soon. A task takes part in a live patch only when none of the replaced
 * functions is on its stack (klp_check_stack() in kernel/livepatch/transition.c): one that sleeps in such a function
 * keeps the transition from finishing. Pure.
 */
import { type ChangedFunction, coldParent } from "../difference/difference.ts";
import type { Caution } from "../finding.ts";
import { isPieceTarget, type Piece, pieceBytes, type Reference, type UnitObject } from "../object/object.ts";

/** Asked by the main loop of a kernel thread (kernel/kthread.c). */
const asksWhetherToStop = /^kthread_should_(stop|park)$/;
/** Starts a task in the function that is passed (kernel/kthread.c, kernel/fork.c, kernel/vhost_task.c, io_uring). */
const startsTask =
  /^(kthread_create_on_node|kthread_create_on_cpu|kthread_run_on_cpu|kernel_thread|user_mode_thread|create_io_thread|vhost_task_create)$/;
/** Until something else wakes the task. Sleeps of a given time end by themselves. */
const sleeps = /^(io_)?schedule$/;

/** A part of a function that code jumps back over. */
interface Loop {
  start: number;
  end: number;
  /** Nothing leads out of it but a return from a call. */
  endless: boolean;
}

export function stackCautions(changed: readonly ChangedFunction[], original: UnitObject): Caution[] {
  return changed.flatMap(({ original: piece }) => {
    const loops = loopsOf(piece);
    if (loops.length === 0) return [];
    const inLoop = (test: RegExp) =>
      callsOf(piece).find(
        ({ name, offset }) =>
          test.test(name) && loops.some(({ start, end }) => offset >= start && offset < end),
      )?.name;
    const asks = inLoop(asksWhetherToStop);
    if (asks !== undefined) return [mainLoop(piece, `it loops until ${asks}() says so`)];
    const starter = starterOf(piece, original);
    if (starter !== undefined)
      return [mainLoop(piece, `${starter} starts a kernel thread in it, and it loops`)];
    const calls = callsOf(piece);
    if (
      loops.some(
        ({ start, end, endless }) => endless && calls.some(({ offset }) => offset >= start && offset < end),
      )
    )
      return [mainLoop(piece, "it loops for ever")];
    const sleep = inLoop(sleeps);
    return sleep === undefined ? [] : [sleepingLoop(piece, sleep)];
  });
}

function mainLoop({ name }: Piece, why: string): Caution {
  return {
    code: "RK-CAUTION-NEVER-LEFT",
    message: `${name} stays on the stack of its task (${why}): the transition cannot finish while such a task runs.`,
    hint: "Fix the defect in the functions that the loop calls. If the thread can be stopped and started again (by removing a device, unmounting, …), do that while the transition waits.",
  };
}

function sleepingLoop({ name }: Piece, sleep: string): Caution {
  return {
    code: "RK-CAUTION-SLEEPS-IN-LOOP",
    message: `${name} calls ${sleep}() in a loop: the transition waits for every task that sleeps in it, until what the task waits for has come.`,
    hint: "Try it on a machine with the load that matters; rekernel patch status shows which tasks a transition waits for.",
  };
}

function callsOf(piece: Piece): { name: string; offset: number }[] {
  return piece.references.flatMap(({ branch, offset, target }) =>
    branch ? [{ name: isPieceTarget(target) ? target.piece.name : target.symbol, offset }] : [],
  );
}

/** The function that starts a task in `piece`. */
function starterOf(piece: Piece, original: UnitObject): string | undefined {
  for (const other of original.pieces) {
    if (other.role !== "code" && other.role !== "initCode") continue;
    const targets = new Map(other.references.map((reference) => [reference.offset, reference]));
    if (![...targets.values()].some((reference) => startsTask.test(nameOf(reference)))) continue;
    for (const reference of other.references) {
      if (reference.branch || !isPieceTarget(reference.target) || reference.target.piece !== piece) continue;
      const uses = other.arch.addressUses(
        pieceBytes(other),
        { field: reference.offset },
        {
          entry: other.entry,
          targetAt: (field) => {
            const at = targets.get(field);
            return at && nameOf(at);
          },
        },
      );
      const isStarted = uses?.some((use) => {
        const call = use.kind === "passed" && use.field !== undefined ? targets.get(use.field) : undefined;
        return call !== undefined && startsTask.test(nameOf(call));
      });
      if (isStarted) return (coldParent(other, original) ?? other).name;
    }
  }
  return undefined;
}

function nameOf({ target }: Reference): string {
  return isPieceTarget(target) ? target.piece.name : target.symbol;
}

function loopsOf(piece: Piece): Loop[] {
  const code = pieceBytes(piece);
  const relocated = new Set(piece.references.map(({ offset }) => offset));
  const branches: { at: number; end: number; to: number; always: boolean }[] = [];
  const exits: number[] = [];
  const view = new DataView(code.buffer, code.byteOffset, code.byteLength);
  for (let at = piece.entry; at < code.length; ) {
    const instruction = piece.arch.decode(code, at);
    if (!instruction) return [];
    const end = at + instruction.length;
    const field = instruction.branchField;
    if (field && instruction.kind !== "call") {
      const place = at + field.offset;
      // To another function, as a rule: out of every loop.
      if (relocated.has(place)) exits.push(at);
      else {
        const distance = field.size === 1 ? view.getInt8(place) : view.getInt32(place, true);
        branches.push({ at, end, to: end + distance, always: instruction.kind === "jump" });
      }
    } else if (piece.arch.isReturn(code, at)) exits.push(at);
    at = end;
  }
  return branches.flatMap((back): Loop[] => {
    if (back.to > back.at || back.to < piece.entry) return [];
    const inside = (offset: number) => offset >= back.to && offset < back.end;
    const endless =
      back.always && !exits.some(inside) && branches.every(({ at, to }) => !inside(at) || inside(to));
    return [{ start: back.to, end: back.end, endless }];
  });
}
