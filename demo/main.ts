// `npm start`: the demonstration. See README.md in this folder.
import { runCommand } from "../src/cli/context.ts";
import { play } from "./play.ts";

await runCommand(false, play);
