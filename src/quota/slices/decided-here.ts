import type { Found, LedgerSize, Reservation } from '../ledger.js'
import type { Known } from '../redis/giving-back.js'
import { createOwnReservations } from '../redis/own-reservations.js'
import { weightOf } from '../remembered.js'
import type { Remembered } from '../remembered.js'
import type { Adoption } from './adoptions.js'
import type { Pending } from './slice-turn.js'

/**
 * What a process remembers of the requests that it could decide from slices. Those that are pending are known nowhere
 * else: they are few (`sliced-reserve.ts`), and none is forgotten. All others the store has too.
 */
export interface DecidedHere<Context> {
  add(pending: Pending<Context>): void
  /** Those that the store does not know yet. */
  pendingById(id: string): Pending<Context> | undefined
  pendingByKey(idempotencyKey: string): Pending<Context> | undefined
  /** As many as are pending: in all, and in whichever of the buckets has most. One of many holds counts as several. */
  pendings(which: ReadonlySet<number>): { readonly all: number; readonly most: number }
  /** The store's word for it; before that it was pending. @param back which of its holds are back in their slice */
  adopted(pending: Pending<Context>, adoption: Adoption, back: readonly number[]): void
  /** It was given up before the store knew of it. */
  withdrawn(pending: Pending<Context>): void
  /** The store decided what could have been decided here. @param home the bucket of its home */
  addOther(
    reservation: Reservation<Context>,
    idempotencyKey: string,
    leaseMs: number,
    home: number,
  ): void
  /** Does the store, or will it, answer the key with its first reservation? */
  knows(idempotencyKey: string): boolean
  /** The reservation if it was made here, and the bucket of its home. */
  get(id: string): Known<Context> | undefined
  /** As this process made it, if it did. */
  asMadeHere(reservation: Reservation<Context>): Reservation<Context>
  /** The same as `get`, with how long it has been held. */
  find(id: string): Found<Context> | undefined
  remove(id: string, released: boolean): void
  prolong(id: string, nowMs: number): void
  forgetDue(nowMs: number): void
  /** Of what was decided from slices. */
  size(): LedgerSize
  clear(): void
}

interface Waiting<Context> {
  readonly pending: Pending<Context>
  readonly sinceTick: number
}

export function createDecidedHere<Context>(
  rememberEndedMs: number,
  tick: () => number,
  putBack: (pending: Pending<Context>, indices: readonly number[]) => void,
  remembered: Remembered,
): DecidedHere<Context> {
  const own = createOwnReservations<Context>(rememberEndedMs, tick, remembered)
  const others = createOwnReservations<Context>(rememberEndedMs, tick, remembered)
  const byId = new Map<string, Waiting<Context>>()
  const byKey = new Map<string, Pending<Context>>()
  const inBucket = new Map<number, number>()
  let inAll = 0

  function count(pending: Pending<Context>, sign: 1 | -1): void {
    const more = sign * weightOf(pending.request)
    inAll += more
    for (const { bucket } of pending.parts) {
      inBucket.set(bucket, (inBucket.get(bucket) ?? 0) + more)
    }
  }

  function get(id: string): Known<Context> | undefined {
    const waiting = byId.get(id)?.pending
    if (waiting !== undefined) {
      return { reservation: waiting.reservation, home: waiting.parts[0].bucket }
    }
    const [reservation, home] = [own.get(id), own.homeOf(id)]
    return reservation && home !== undefined ? { reservation, home } : undefined
  }

  function settled(pending: Pending<Context>): void {
    if (byId.delete(pending.request.id)) count(pending, -1)
    byKey.delete(pending.request.idempotencyKey)
  }

  function drop(pending: Pending<Context>, back: readonly number[]): void {
    settled(pending)
    putBack(pending, back)
    own.remove(pending.request.id, true)
  }

  return {
    add(pending) {
      const { id, idempotencyKey, leaseMs } = pending.request
      byId.set(id, { pending, sinceTick: tick() })
      count(pending, 1)
      byKey.set(idempotencyKey, pending)
      own.add(pending.reservation, idempotencyKey, leaseMs, pending.parts[0].bucket)
    },
    pendingById: (id) => byId.get(id)?.pending,
    pendingByKey: (idempotencyKey) => byKey.get(idempotencyKey),
    pendings(which) {
      let most = 0
      for (const bucket of which) most = Math.max(most, inBucket.get(bucket) ?? 0)
      return { all: inAll, most }
    },
    adopted(pending, adoption, back) {
      if (adoption !== 'adopted') {
        drop(pending, back)
        return
      }
      settled(pending)
      putBack(pending, back)
    },
    withdrawn(pending) {
      drop(pending, [...pending.request.holds.keys()])
    },
    addOther(reservation, idempotencyKey, leaseMs, home) {
      others.add(reservation, idempotencyKey, leaseMs, home)
    },
    knows: (idempotencyKey) =>
      byKey.has(idempotencyKey) || own.knows(idempotencyKey) || others.knows(idempotencyKey),
    get,
    asMadeHere: (reservation) => get(reservation.id)?.reservation ?? reservation,
    find(id) {
      const waiting = byId.get(id)
      const heldMs = waiting === undefined ? own.heldMs(id) : tick() - waiting.sinceTick
      const known = get(id)
      return known && heldMs !== undefined ? { ...known.reservation, heldMs } : undefined
    },
    remove(id, released) {
      own.remove(id, released)
      others.remove(id, released)
    },
    prolong(id, nowMs) {
      own.prolong(id, nowMs)
      others.prolong(id, nowMs)
    },
    forgetDue(nowMs) {
      own.forgetDue(nowMs)
      others.forgetDue(nowMs)
    },
    size: () => own.size(),
    clear() {
      own.clear()
      others.clear()
      byId.clear()
      byKey.clear()
      inBucket.clear()
      inAll = 0
    },
  }
}
