import type { DeadlineQueue, Queued } from './deadline-queue.js'
import type { Reservation } from './ledger.js'

/**
 * How much a process may remember of reservations that a store keeps, in bytes of its heap. All of it only saves
 * questions: what is forgotten is asked for.
 */
export interface Remembered {
  readonly shared: SharedBytes
  /** Of each memory that is for moments alone, as between a question and its report. */
  readonly eachBytes: number
}

/** Bytes that several memories share: where there are too many, the one that has most forgets its oldest. */
export interface SharedBytes {
  /**
   * @param queue all that a memory has, the oldest first
   * @param forget frees what that took, which is out of the queue
   */
  join<T extends Queued>(queue: DeadlineQueue<T>, forget: (oldest: T) => void): Sharer
}

export interface Sharer {
  took(bytes: number): void
  freed(bytes: number): void
  freedAll(): void
}

/** Of the heap, for the memories that share; and for each of the others. Beside it the shares of an outage have theirs. */
const PART_OF_HEAP = 8
const EACH_OF_HEAP = 128
/** Whatever the heap: nobody waits for so many reports. */
const MAX_SHARED_BYTES = 2 ** 30
const MAX_EACH_BYTES = 2 ** 24

/** Of one with texts of its own, as measured with its places in the maps (`heap-redis.test.ts`). */
const RESERVATION_BYTES = 1200
const HOLD_BYTES = 220
/** Of an idempotency key. */
export const KEY_BYTES = 200

/** What it takes to remember it. Counted in full by each memory that has it, since each may be the last. */
export function bytesOf({ holds }: Pick<Reservation<unknown>, 'holds'>): number {
  return RESERVATION_BYTES + HOLD_BYTES * holds.length
}

/** A reservation has no more holds but by an unusual policy. */
const HOLDS_OF_ONE = 8

/** As how many one counts where there is room for a number of them. */
export function weightOf({ holds }: Pick<Reservation<unknown>, 'holds'>): number {
  return Math.max(1, Math.ceil(holds.length / HOLDS_OF_ONE))
}

/** What a heap of this size has room for. Default: that of a Node which nobody told otherwise. */
export function rememberedIn(heapBytes = 2 ** 31): Remembered {
  return {
    shared: createSharedBytes(Math.min(MAX_SHARED_BYTES, Math.floor(heapBytes / PART_OF_HEAP))),
    eachBytes: Math.min(MAX_EACH_BYTES, Math.floor(heapBytes / EACH_OF_HEAP)),
  }
}

interface Member {
  bytes: number
  /** False: there is nothing to forget. */
  readonly forgetOldest: () => boolean
}

export function createSharedBytes(maxBytes: number): SharedBytes {
  const members: Member[] = []
  let sum = 0

  function largest(): Member | undefined {
    let most: Member | undefined
    for (const member of members) if (member.bytes > (most?.bytes ?? 0)) most = member
    return most
  }

  return {
    join(queue, forget) {
      const forgetOldest = (): boolean => {
        const oldest = queue.takeDue(Infinity)
        if (oldest !== undefined) forget(oldest)
        return oldest !== undefined
      }
      const member: Member = { bytes: 0, forgetOldest }
      members.push(member)
      return {
        took(bytes) {
          member.bytes += bytes
          sum += bytes
          while (sum > maxBytes && largest()?.forgetOldest() === true);
        },
        freed(bytes) {
          member.bytes -= bytes
          sum -= bytes
        },
        freedAll() {
          sum -= member.bytes
          member.bytes = 0
        },
      }
    },
  }
}
