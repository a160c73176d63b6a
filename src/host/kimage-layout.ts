/** Where the members of the running kernel's struct kimage lie, by its own BTF. */
import { readFile } from "node:fs/promises";
import { RekernelError } from "../core/errors.ts";
import { Btf } from "../formats/btf.ts";
import { UnreadableMemory } from "./kernel-memory.ts";
import { type HostPaths, thisHost } from "./paths.ts";

/** Offsets and sizes in bytes. Source of the names: include/linux/kexec.h. */
export interface KimageLayout {
  sizeBytes: number;
  head: number;
  start: number;
  segmentCount: number;
  segments: number;
  segmentLimit: number;
  segment: { sizeBytes: number; bufsz: number; mem: number; memsz: number };
}

/** @throws UnreadableMemory where there is no BTF, or none that describes struct kimage */
export async function readKimageLayout(host: HostPaths = thisHost): Promise<KimageLayout> {
  try {
    return kimageLayout(new Btf(await readFile(`${host.sys}/kernel/btf/vmlinux`), "the running kernel"));
  } catch (error) {
    if (error instanceof UnreadableMemory) throw error;
    throw new UnreadableMemory(
      error instanceof RekernelError
        ? "this kernel's BTF is damaged"
        : "this kernel does not describe its types (CONFIG_DEBUG_INFO_BTF)",
      error,
    );
  }
}

function kimageLayout(btf: Btf): KimageLayout {
  const image = btf.structuresNamed("kimage")[0];
  if (image === undefined) throw new UnreadableMemory("this kernel's BTF has no struct kimage");
  const offsetIn = (type: number, name: string) => {
    const member = btf.membersOf(type).find((candidate) => candidate.name === name);
    if (member === undefined || member.bitOffset % 8 !== 0)
      throw new UnreadableMemory(`this kernel's struct ${btf.nameOf(type)} has no member ${name}`);
    return { offset: member.bitOffset / 8, type: member.type };
  };
  const segments = offsetIn(image, "segment");
  const segment = btf.targetOf(segments.type);
  return {
    sizeBytes: btf.sizeOf(image),
    head: offsetIn(image, "head").offset,
    start: offsetIn(image, "start").offset,
    segmentCount: offsetIn(image, "nr_segments").offset,
    segments: segments.offset,
    segmentLimit: btf.elementsOf(segments.type),
    segment: {
      sizeBytes: btf.sizeOf(segment),
      bufsz: offsetIn(segment, "bufsz").offset,
      mem: offsetIn(segment, "mem").offset,
      memsz: offsetIn(segment, "memsz").offset,
    },
  };
}
