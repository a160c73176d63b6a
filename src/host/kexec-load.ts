/** kexec_load: hands segments to the kernel that were laid out here, and where it is to jump. */
import { syscallNumber } from "./arch/x86_64.ts";
import { type SyscallStructure, syscall } from "./syscall.ts";

/** KEXEC_ARCH_X86_64 of include/uapi/linux/kexec.h: the processor that is jumped to. */
const KEXEC_ARCH_X86_64 = 62 << 16;

/** One range of the next kernel's memory. Ranges begin and end with a page and do not overlap. */
export interface KexecSegment {
  /** Physical address at the jump. */
  address: bigint;
  data: Uint8Array;
  /** Not less than the data; the kernel zeroes the rest. */
  memoryBytes: number;
}

/**
 * Copies the segments into the kernel, which keeps them until the jump; what was loaded before goes.
 * The kernel looks at nothing in them. It refuses the call under lockdown, since nobody could verify it.
 *
 * Source: kernel/kexec.c kexec_load; kernel/kexec_core.c sanity_check_segment_list. EINVAL: more than 16
 * segments, half of the RAM or more; EADDRNOTAVAIL: an address beyond the machine's; ENOMEM; EBUSY: another
 * load; EPERM: no CAP_SYS_BOOT, lockdown, kexec_load_disabled or a load limit.
 *
 * @param entry physical address of the first instruction
 * @throws SyscallError
 */
export async function kexecLoad(segments: readonly KexecSegment[], entry: bigint): Promise<void> {
  await call(entry, segments.length, segmentTable(segments));
}

/**
 * Drops the loaded image, whichever call loaded it.
 *
 * @throws SyscallError
 */
export async function kexecUnload(): Promise<void> {
  await call(0n, 0, 0);
}

async function call(entry: bigint, count: number, segments: SyscallStructure | 0): Promise<void> {
  await syscall("kexec_load", syscallNumber.kexec_load, entry, count, segments, KEXEC_ARCH_X86_64);
}

/** struct kexec_segment[] of include/uapi/linux/kexec.h: buf, bufsz, mem, memsz, 8 bytes each. */
function segmentTable(segments: readonly KexecSegment[]): SyscallStructure {
  const bytes = new Uint8Array(segments.length * 32);
  const view = new DataView(bytes.buffer);
  const pointers = new Map<number, Uint8Array>();
  for (const [index, { address, data, memoryBytes }] of segments.entries()) {
    const at = index * 32;
    if (data.length > 0) pointers.set(at, data);
    view.setBigUint64(at + 8, BigInt(data.length), true);
    view.setBigUint64(at + 16, address, true);
    view.setBigUint64(at + 24, BigInt(memoryBytes), true);
  }
  return { bytes, pointers };
}
