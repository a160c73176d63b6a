/** What the analysis of a patch finds, by stable code; docs/errors.md explains each. */

interface Finding {
  code: string;
  message: string;
  hint: string;
  /** Where in the source, `path:line`. */
  source?: string | undefined;
}

/** Why a change cannot be carried. */
export interface Problem extends Finding {
  /** What changes, as an author names it: `struct foo`, a variable, a function. */
  subject?: string | undefined;
  /** The section that it lies in. */
  section?: string | undefined;
}

/** What the author has to judge: the change can be carried, and may yet not do what it is meant to. Codes begin with RK-CAUTION-. */
export interface Caution extends Finding {}

/** One line each, for messages that hold several. */
export function describeFinding({ code, message, hint, source }: Finding): string {
  return `${code}: ${source === undefined || message.includes(source) ? "" : `${source}: `}${message} ${hint}`;
}
