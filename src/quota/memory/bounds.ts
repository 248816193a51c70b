/** How much a ledger in memory may hold. */
export interface MemoryBounds {
  /** Partitions. What still limits is never let go of for a new one: `reserve` fails with `FullError`. */
  readonly maxPartitions: number
  /** Reservations, open and unsettled. */
  readonly maxReservations: number
  /**
   * What the reservations that have ended may take, as `bytesOf` has it. Beyond, the oldest are forgotten, and their
   * repeats are decided anew: that may charge a stream twice, and lets none pass uncharged.
   */
  readonly maxEndedBytes: number
}

/** Whatever the heap: a million partitions are some 1.1 GiB of sliding windows (docs/measurements.md). */
const MILLION = 1_000_000
const MAX_ENDED_BYTES = 2 ** 28
/**
 * Bytes of each (docs/measurements.md), and how much of the heap they may take beside everything else. A sliding
 * window that is used in all of its cells takes 2.4 KB: where every one is, the two take two thirds of the heap.
 */
const PARTITION_BYTES = 1200
const RESERVATION_BYTES = 1000
const PART_OF_HEAP = 4
/** Little for what has ended, which is of use for moments. */
const ENDED_OF_HEAP = 32

/** What a heap of this size has room for: a quarter of it for partitions, a quarter for reservations. */
export function boundsIn(heapBytes: number): MemoryBounds {
  const fit = (bytes: number): number =>
    Math.min(MILLION, Math.floor(heapBytes / PART_OF_HEAP / bytes))
  return {
    maxPartitions: fit(PARTITION_BYTES),
    maxReservations: fit(RESERVATION_BYTES),
    maxEndedBytes: Math.min(MAX_ENDED_BYTES, Math.floor(heapBytes / ENDED_OF_HEAP)),
  }
}
