// Writes src/kexec/purgatory/image.ts, which the library imports, from native/purgatory. Run it after changes
// there; a unit test compares.
import { writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { compilePurgatory } from "./purgatory/compile.ts";

const output = join(import.meta.dirname, "../src/kexec/purgatory/image.ts");
const { data, memoryBytes } = await compilePurgatory();
const base64 = Buffer.from(data)
  .toString("base64")
  .match(/.{1,100}/g)!;
const text = `// Written by scripts/build-purgatory.ts from native/purgatory: change it there.

/** The memory that the purgatory takes: its bytes, what starts as zeros, and its stack. */
export const imageMemoryBytes = 0x${memoryBytes.toString(16)};

/** Its ${data.length} bytes, in base64. */
export const imageBase64 = \`
${base64.join("\n")}
\`;
`;
await writeFile(output, text);
process.stdout.write(`${relative(process.cwd(), output)}: ${data.length} bytes\n`);
