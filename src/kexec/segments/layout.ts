/** Putting segments together, each into the room that those before it left. */
import type { AddressRange } from "../../formats/memory-map.ts";
import { placeSegment, type Wish } from "./place.ts";
import { subtract, wholePages } from "./ranges.ts";
import { pageSize, type Segment } from "./segment.ts";

/** Where something will lie, decided before its bytes are known. */
export interface Reservation {
  address: bigint;
  /** Whole pages. */
  memoryBytes: number;
}

/**
 * Collects the segments of one jump. Loaders reserve first what is hardest to place (the kernel), and what
 * holds addresses of others (boot_params, purgatory) last.
 */
export class LayoutBuilder {
  #free: AddressRange[];
  readonly #segments: Segment[] = [];

  /** @param room what segments may take: RAM that nobody claims */
  constructor(room: readonly AddressRange[]) {
    this.#free = wholePages(subtract(room, []), pageSize);
  }

  /**
   * Takes room for a segment, whole pages.
   *
   * @throws RekernelError RK-KEXEC-NO-ROOM (1)
   */
  reserve(wish: Wish): Reservation {
    const memoryBytes = Math.max(1, Math.ceil(wish.size / pageSize)) * pageSize;
    const address = placeSegment(this.#free, { ...wish, size: memoryBytes });
    this.#free = subtract(this.#free, [{ start: address, end: address + BigInt(memoryBytes) }]);
    return { address, memoryBytes };
  }

  /** Fills what was reserved; the rest of it is zeroed at the jump. */
  put(name: string, { address, memoryBytes }: Reservation, data: Uint8Array): void {
    if (data.length > memoryBytes) throw new RangeError(`${name} is larger than its reservation`);
    this.#segments.push({ name, address, data, memoryBytes });
  }

  /** Reserves and fills in one go. `size` is the memory that it takes where that is more than its bytes. */
  add(wish: Omit<Wish, "size"> & { size?: number }, data: Uint8Array): Reservation {
    const reservation = this.reserve({ ...wish, size: wish.size ?? data.length });
    this.put(wish.name, reservation, data);
    return reservation;
  }

  /** What was put, by address. */
  get segments(): readonly Segment[] {
    return this.#segments.toSorted((a, b) => (a.address < b.address ? -1 : 1));
  }
}
