import { readInputFile } from "../../kernel/input-file.ts";
import { unwrapKernel } from "../../kernel/unwrap.ts";
import { type ImageSignature, imageSignatures } from "./inspect.ts";

/** A signature, and what it covers: the file, or the kernel in a unified kernel image, which kexec looks at. */
export interface FileSignature extends ImageSignature {
  of: "file" | "kernel";
}

/**
 * The signatures of a kernel's file, and of the kernel inside it where that is a file of its own.
 * They are verified in themselves; whether anybody trusts the signers is not asked.
 *
 * @throws RekernelError as `readInputFile` and `unwrapKernel`; RK-BAD-SIGNATURE (1)
 */
export async function fileSignatures(path: string): Promise<FileSignature[]> {
  const file = await readInputFile(path, "kernel image");
  const { kernel, uki } = unwrapKernel(file, path);
  const of = (what: FileSignature["of"], bytes: Uint8Array) =>
    imageSignatures(bytes, path).map((signature) => ({ of: what, ...signature }));
  return uki === undefined ? of("file", kernel) : [...of("file", file), ...of("kernel", kernel)];
}
