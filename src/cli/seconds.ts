import { InvalidArgumentError } from "commander";

/** A duration option in seconds, as milliseconds. */
export function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (!/^\d+(\.\d+)?$/.test(text) || seconds <= 0 || seconds > 86_400)
    throw new InvalidArgumentError("It must be a number of seconds above 0.");
  return seconds * 1000;
}

/** A number of minutes, as it is. */
export function parseMinutes(text: string): number {
  const minutes = Number(text);
  if (!/^\d+(\.\d+)?$/.test(text) || minutes <= 0 || minutes > 1440)
    throw new InvalidArgumentError("It must be a number of minutes above 0, a day at most.");
  return minutes;
}
