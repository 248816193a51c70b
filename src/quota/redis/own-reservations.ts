import { createDeadlineQueue, takeSomeDue } from '../deadline-queue.js'
import type { Queued } from '../deadline-queue.js'
import type { LedgerSize, Reservation } from '../ledger.js'
import { createRecent } from '../recent.js'
import { bytesOf, KEY_BYTES } from '../remembered.js'
import type { Remembered } from '../remembered.js'

/**
 * What a process remembers of the reservations that it made itself in a shared store. It only saves questions; where
 * there is no room for all, the oldest are forgotten, and asked for when their report comes.
 */
export interface OwnReservations<Context> {
  /** @param home the bucket of its home */
  add(
    reservation: Reservation<Context>,
    idempotencyKey: string,
    leaseMs: number,
    home: number,
  ): void
  homeOf(id: string): number | undefined
  get(id: string): Reservation<Context> | undefined
  /** For how long it has been held, by `tick`. */
  heldMs(id: string): number | undefined
  /** Its lease ran out: it is remembered for another one. */
  prolong(id: string, nowEpochMs: number): void
  /** It ended. Its key is still known for a while, unless it was released. */
  remove(id: string, released: boolean): void
  /** Did a reservation of this process use the key? */
  knows(idempotencyKey: string): boolean
  /** Forgets some of what is due, and keys of what has ended. */
  forgetDue(nowEpochMs: number): void
  size(): LedgerSize
  clear(): void
}

interface Own<Context> extends Queued {
  readonly reservation: Reservation<Context>
  readonly idempotencyKey: string
  readonly leaseMs: number
  readonly home: number
  readonly addedAtTick: number
}

/** @param tick a clock that cannot be set */
export function createOwnReservations<Context>(
  rememberEndedMs: number,
  tick: () => number,
  { shared, eachBytes }: Remembered,
): OwnReservations<Context> {
  const byId = new Map<string, Own<Context>>()
  const keys = new Set<string>()
  const endedKeys = createRecent<true>(rememberEndedMs, {
    maxWeight: eachBytes,
    weightOf: () => KEY_BYTES,
  })
  const queue = createDeadlineQueue<Own<Context>>()
  const holders = new Map<string, number>()

  const taken = shared.join(queue, drop)

  function drop(own: Own<Context>): void {
    if (!byId.delete(own.reservation.id)) return
    taken.freed(bytesOf(own.reservation))
    keys.delete(own.idempotencyKey)
    queue.remove(own)
    for (const { partitionKey } of own.reservation.holds) {
      const left = (holders.get(partitionKey) ?? 1) - 1
      if (left === 0) holders.delete(partitionKey)
      else holders.set(partitionKey, left)
    }
  }

  return {
    add(reservation, idempotencyKey, leaseMs, home) {
      const before = byId.get(reservation.id)
      if (before !== undefined) drop(before)
      const addedAtTick = tick()
      const own = { reservation, idempotencyKey, leaseMs, home, addedAtTick, queuePosition: -1 }
      byId.set(reservation.id, own)
      keys.add(idempotencyKey)
      queue.put(own, reservation.admittedAtEpochMs + 2 * leaseMs)
      for (const { partitionKey } of reservation.holds) {
        holders.set(partitionKey, (holders.get(partitionKey) ?? 0) + 1)
      }
      taken.took(bytesOf(reservation))
    },
    homeOf: (id) => byId.get(id)?.home,
    get: (id) => byId.get(id)?.reservation,
    heldMs(id) {
      const own = byId.get(id)
      return own && tick() - own.addedAtTick
    },
    prolong(id, nowEpochMs) {
      const own = byId.get(id)
      if (own !== undefined) queue.put(own, nowEpochMs + own.leaseMs)
    },
    remove(id, released) {
      const own = byId.get(id)
      if (own === undefined) return
      drop(own)
      if (!released) endedKeys.add(own.idempotencyKey, true)
    },
    knows: (idempotencyKey) =>
      keys.has(idempotencyKey) || endedKeys.get(idempotencyKey) !== undefined,
    forgetDue(nowEpochMs) {
      for (const own of takeSomeDue(queue, nowEpochMs, workOf)) drop(own)
      endedKeys.rotate(nowEpochMs)
    },
    size: () => ({ partitions: holders.size, reservations: byId.size }),
    clear() {
      byId.clear()
      keys.clear()
      endedKeys.clear()
      holders.clear()
      taken.freedAll()
    },
  }
}

function workOf({ reservation }: Own<unknown>): number {
  return 1 + reservation.holds.length
}
