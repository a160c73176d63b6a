import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** By path below the root: texts to be replaced, each by another. */
export type Edits = Readonly<Record<string, readonly (readonly [from: string, to: string])[]>>;

/** A patch that replaces texts in files below `root`, as `diff -u` writes it; the files stay as they are. */
export async function patchFromEdits(root: string, edits: Edits): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "rekernel-test-"));
  try {
    const parts: string[] = [];
    for (const [path, replacements] of Object.entries(edits)) {
      const before = await readFile(join(root, path), "utf8");
      let after = before;
      for (const [from, to] of replacements) {
        if (!after.includes(from)) throw new Error(`${path} does not contain ${from}`);
        after = after.replace(from, () => to);
      }
      await writeFile(join(folder, "before"), before);
      await writeFile(join(folder, "after"), after);
      parts.push(difference(folder, path));
    }
    return parts.join("");
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function difference(folder: string, path: string): string {
  try {
    execFileSync("diff", ["-u", "--label", `a/${path}`, "--label", `b/${path}`, "before", "after"], {
      cwd: folder,
      encoding: "utf8",
    });
  } catch (error) {
    // diff ends with 1 where files differ.
    return (error as { stdout: string }).stdout;
  }
  throw new Error(`the edit of ${path} changes nothing`);
}
