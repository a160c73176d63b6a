import { InvalidArgumentError } from "commander";

/** A duration option in seconds, as milliseconds. */
export function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (!/^\d+(\.\d+)?$/.test(text) || seconds <= 0 || seconds > 86_400)
    throw new InvalidArgumentError("It must be a number of seconds above 0.");
  return seconds * 1000;
}
