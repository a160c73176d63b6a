/** The files that a multiboot kernel gets beside itself. */
import { gunzipSync } from "node:zlib";
import { RekernelError } from "../core/errors.ts";
import { compressionOf } from "../formats/compression.ts";
import { readInputFile } from "../kernel/input-file.ts";
import type { ImageKind } from "./loaders/kind.ts";
import type { LoaderInput } from "./loaders/loader.ts";

export interface ModuleRequest {
  path: string;
  /** Without the name, which comes first in what the kernel is told. */
  commandLine: string;
}

/**
 * Reads `FILE words for it`: as with kexec-tools the file's name ends at the first space.
 *
 * @throws RekernelError RK-USAGE (2)
 */
export function moduleRequest(text: string): ModuleRequest {
  const [, path, commandLine = ""] = /^\s*(\S+)\s*(.*?)\s*$/s.exec(text) ?? [];
  if (path === undefined) throw new RekernelError("usage", "RK-USAGE", "A module has no file (--module).");
  return { path, commandLine };
}

/** As much as a kernel may unpack to; a larger one stays as it is. */
const limitBytes = 512 << 20;

/**
 * Reads them. What is packed with gzip is unpacked, as GRUB and kexec-tools do it: these kernels do not unpack
 * by themselves.
 *
 * @param name of the image, for messages
 * @throws RekernelError RK-USAGE (2) for a kernel that takes none; RK-FILE (1); RK-PERMISSION (5)
 */
export async function readModules(
  modules: readonly ModuleRequest[] = [],
  kind: ImageKind,
  name: string,
): Promise<LoaderInput["modules"]> {
  if (modules.length > 0 && kind !== "multiboot" && kind !== "multiboot2")
    throw new RekernelError("usage", "RK-USAGE", `${name} is no multiboot image: it takes no modules.`, {
      hint: "Give an initrd (--initrd FILE) instead of a module.",
    });
  return Promise.all(
    modules.map(async ({ path, commandLine }) => {
      if (commandLine.includes("\0"))
        throw new RekernelError(
          "usage",
          "RK-USAGE",
          `The command line of the module ${path} holds a NUL byte.`,
        );
      return { name: path, commandLine, data: unpack(await readInputFile(path, "module")) };
    }),
  );
}

/** Only what is one gzip file to its end: of an initrd of several archives the rest would be lost. */
function unpack(bytes: Uint8Array): Uint8Array {
  if (compressionOf(bytes) !== "gzip") return bytes;
  try {
    const { buffer, engine } = gunzipSync(bytes, { info: true, maxOutputLength: limitBytes }) as unknown as {
      buffer: Buffer;
      engine: { bytesWritten: number };
    };
    return engine.bytesWritten === bytes.length ? buffer : bytes;
  } catch {
    return bytes;
  }
}
