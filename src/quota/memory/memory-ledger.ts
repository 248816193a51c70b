import { balanceOf, longestShortage, shortageWhereUsedUp, shortHolds } from '../balance.js'
import { isCarriedByNone, withCarrier, withoutCarrier } from '../carriers.js'
import type { Carriers } from '../carriers.js'
import { createDeadlineQueue } from '../deadline-queue.js'
import type { Queued } from '../deadline-queue.js'
import type { End } from '../end.js'
import type { Balance, Ended, Held, Hold, Ledger, LedgerSize } from '../ledger.js'
import type { Reservation, ReserveRequest, Short } from '../ledger.js'
import { FullError } from '../full-error.js'
import { boundsIn } from './bounds.js'
import type { MemoryBounds } from './bounds.js'
import { createMoments } from './moments.js'
import { createPartitions } from './partitions.js'
import { requireWhole } from '../request.js'
import { createRecent } from '../recent.js'
import { bytesOf } from '../remembered.js'
import type { Quota } from '../quota.js'
import { amountAtEnd } from '../units.js'
import { addDebt, change } from '../windows/window-state.js'
import type { Placement } from '../windows/window-state.js'

/** Bounds: by default as in any heap that has room for them. */
export interface MemoryLedgerOptions extends Partial<MemoryBounds> {
  /**
   * A clock that cannot be set: leases go by it, and so do the moments while the wall clock is behind those that it
   * showed. Default: the moments of the calls.
   */
  readonly monotonicMs?: () => number
  /**
   * How long, at least, a repeated `reserve` is recognised after its reservation was ended; before, it always
   * is. Envoy repeats nothing after a stream's end: this covers calls that overtook each other. Default 60 s.
   */
  readonly rememberEndedMs?: number
}

/** A ledger in the memory of this process: limits are per process, and a restart forgets what was spent. */
export interface MemoryLedger<Context> extends Ledger<Context> {
  size(): LedgerSize & { readonly idempotencyKeys: number }
  /** Would `reserve` answer this key with a reservation that it made before? */
  knows(idempotencyKey: string): boolean
  /** What its leases go by, in milliseconds: `monotonicMs`, if it has that. */
  tickAt(nowEpochMs: number): number
}

/** All that the answer to a repeated `reserve` takes. */
interface Answered<Context> {
  readonly reservation: Reservation<Context>
  readonly shadowShort: readonly Quota[]
}

interface Entry<Context> extends Answered<Context>, Queued {
  readonly idempotencyKey: string
  readonly leaseMs: number
  /** By the clock that cannot be set. */
  readonly admittedAtTick: number
  /** One per hold, in the same order. */
  readonly placements: readonly Placement[]
  carriers: Carriers
  /** `unsettled`: the lease ran out, and a report may still come. */
  phase: 'open' | 'unsettled'
}

/** What one `expire` looks at: some 3 ms and 5 ms of work (measured). The rest is left to the next. */
const MAX_SWEPT_RESERVATIONS = 2500
const MAX_SWEPT_PARTITIONS = 5000

/**
 * Every operation is one synchronous piece and therefore atomic; the promise is only the port's shape. There is
 * no timer: leases run out, and state is freed, in `expire`. A moment earlier than one seen before does not count
 * (`moments.ts`), so a clock that jumps back admits nothing more.
 *
 * It is bounded: what does not fit is not held, and the answer is a `FullError`.
 *
 * Misuse rejects with a RangeError and changes nothing: a moment outside 0 to `MAX_EPOCH_MS`, an amount or a lease
 * that is not a whole number from 0 to 2^53 - 1, an id that is in use.
 */
export function createMemoryLedger<Context>(
  options: MemoryLedgerOptions = {},
): MemoryLedger<Context> {
  const { rememberEndedMs = 60_000 } = options
  const { maxPartitions, maxReservations, maxEndedBytes } = { ...boundsIn(Infinity), ...options }
  const partitions = createPartitions()
  const reservations = new Map<string, Entry<Context>>()
  const byIdempotencyKey = new Map<string, Entry<Context>>()
  const ended = createRecent<Answered<Context>>(rememberEndedMs, {
    maxWeight: maxEndedBytes,
    weightOf: ({ reservation }) => bytesOf(reservation),
  })
  /** Reservations by the tick at which their phase is over: no set of the wall clock ends a lease, or draws it out. */
  const phases = createDeadlineQueue<Entry<Context>>()
  const { of: momentOf, tick } = createMoments(options.monotonicMs)

  function isKnown(idempotencyKey: string): boolean {
    return byIdempotencyKey.has(idempotencyKey) || ended.get(idempotencyKey) !== undefined
  }

  function balancesOf(holds: readonly Hold[], nowEpochMs: number): readonly Balance[] {
    return holds.map((hold) => balanceOf(hold, partitions.look(hold, nowEpochMs), nowEpochMs))
  }

  function held(
    { reservation, shadowShort }: Answered<Context>,
    { repeated, carrier }: Pick<Held<Context>, 'repeated' | 'carrier'>,
    nowEpochMs: number,
  ): Held<Context> {
    const balances = balancesOf(reservation.holds, nowEpochMs)
    return { kind: 'held', reservation, repeated, carrier, balances, shadowShort }
  }

  /**
   * Frees what is due beside each new partition, so that one that has ended keeps no other out until the next
   * `expire`.
   *
   * @throws FullError there is no room for the new ones
   */
  function requireRoom(holds: readonly Hold[], nowEpochMs: number): void {
    if (reservations.size >= maxReservations) throw new FullError(holds)
    const isFresh = (hold: Hold): boolean => !partitions.has(hold)
    const before = holds.filter(isFresh)
    if (before.length === 0) return
    partitions.sweep(nowEpochMs, 2 * before.length)
    // Of those that were there, one may just have been freed.
    const fresh = holds.filter(isFresh)
    const added = new Set(fresh.map(({ partitionKey }) => partitionKey)).size
    if (partitions.count() + added > maxPartitions) throw new FullError(fresh)
  }

  function holdAll(request: ReserveRequest<Context>, nowEpochMs: number): Held<Context> | Short {
    const { id, idempotencyKey, holds, context, leaseMs } = request
    requireWhole('leaseMs', leaseMs)
    for (const hold of holds) requireWhole('amount', hold.amount)

    const seen = holds.map((hold) => {
      return { state: partitions.follow(hold, nowEpochMs), atMs: nowEpochMs }
    })
    const shorts = shortHolds(holds, seen)
    const short = longestShortage(shorts)
    if (short !== undefined) return { ...short, balances: balancesOf(holds, nowEpochMs) }
    requireRoom(holds, nowEpochMs)

    const admittedAtTick = tick()
    const entry: Entry<Context> = {
      reservation: { id, context, holds, admittedAtEpochMs: nowEpochMs },
      idempotencyKey,
      leaseMs,
      admittedAtTick,
      placements: holds.map((hold) => partitions.reserve(hold, nowEpochMs)),
      shadowShort: shorts.map(({ quota }) => quota),
      carriers: [id],
      phase: 'open',
      queuePosition: -1,
    }
    reservations.set(id, entry)
    byIdempotencyKey.set(idempotencyKey, entry)
    phases.put(entry, admittedAtTick + leaseMs)
    return held(entry, { repeated: false, carrier: id }, nowEpochMs)
  }

  function settle(entry: Entry<Context>, end: End, nowEpochMs: number): Ended<Context> {
    const { reservation, placements, shadowShort } = entry
    const late = entry.phase === 'unsettled'
    const actuals = reservation.holds.map(({ quota, amount }) =>
      requireWhole('amount at the end', amountAtEnd(quota.unit, end) ?? amount),
    )
    const charges = placements.map((placement, index) => {
      const actual = actuals[index] as number
      const { amount } = reservation.holds[index] as Hold
      const debt = isOpen(placement) ? 0 : Math.max(0, actual - amount)
      if (late) correct(placement, actual, nowEpochMs)
      else spend(placement, actual, nowEpochMs)
      if (debt > 0) addDebt(placement, debt, nowEpochMs)
      partitions.letGo(placement, nowEpochMs)
      return { actual, debt }
    })
    drop(entry)
    // What was released holds nothing any more: a repeated call that found it would pass uncharged.
    if (end.kind !== 'released') ended.add(entry.idempotencyKey, { reservation, shadowShort })
    return { reservation, outcome: end.kind, late, charges }
  }

  function runOut(entry: Entry<Context>, nowEpochMs: number, nowTick: number): Ended<Context> {
    const { reservation, placements } = entry
    for (const placement of placements) spend(placement, placement.counted, nowEpochMs)
    entry.phase = 'unsettled'
    phases.put(entry, nowTick + entry.leaseMs)
    const charges = reservation.holds.map(({ amount }) => ({ actual: amount, debt: 0 }))
    return { reservation, outcome: 'unsettled', late: false, charges }
  }

  function forget(entry: Entry<Context>, nowEpochMs: number): void {
    drop(entry)
    for (const placement of entry.placements) partitions.letGo(placement, nowEpochMs)
  }

  function drop(entry: Entry<Context>): void {
    reservations.delete(entry.reservation.id)
    byIdempotencyKey.delete(entry.idempotencyKey)
    phases.remove(entry)
  }

  return {
    async exhausted({ holds, idempotencyKey }, nowEpochMs) {
      const now = momentOf(nowEpochMs)
      if (isKnown(idempotencyKey)) return undefined
      const seen = holds.map((hold) => ({ state: partitions.look(hold, now), atMs: now }))
      const short = shortageWhereUsedUp(shortHolds(holds, seen))
      return short && { ...short, balances: balancesOf(holds, now) }
    },

    async reserve(request, nowEpochMs) {
      const now = momentOf(nowEpochMs)
      const open = byIdempotencyKey.get(request.idempotencyKey)
      if (open !== undefined) open.carriers = withCarrier(open.carriers, request.id)
      const known = open ?? ended.get(request.idempotencyKey)
      if (known !== undefined) {
        return held(known, { repeated: true, carrier: request.id }, now)
      }
      if (reservations.has(request.id)) throw new RangeError('the reservation id is in use')
      return holdAll(request, now)
    },

    async find(id, nowEpochMs) {
      momentOf(nowEpochMs)
      const entry = reservations.get(id)
      return entry && { ...entry.reservation, heldMs: tick() - entry.admittedAtTick }
    },

    async end(id, end, nowEpochMs) {
      const now = momentOf(nowEpochMs)
      const entry = reservations.get(id)
      return entry && settle(entry, end, now)
    },

    async abandon(id, nowEpochMs, carrier = id) {
      const now = momentOf(nowEpochMs)
      const entry = reservations.get(id)
      if (entry === undefined) return undefined
      entry.carriers = withoutCarrier(entry.carriers, carrier)
      if (!isCarriedByNone(entry.carriers)) return undefined
      return settle(entry, { kind: 'released' }, now)
    },

    async expire(nowEpochMs) {
      const now = momentOf(nowEpochMs)
      const nowTick = tick()
      const unsettled: Ended<Context>[] = []
      for (let swept = 0; swept < MAX_SWEPT_RESERVATIONS; swept += 1) {
        const entry = phases.takeDue(nowTick)
        if (entry === undefined) break
        if (entry.phase === 'open') unsettled.push(runOut(entry, now, nowTick))
        else forget(entry, now)
      }
      partitions.sweep(now, MAX_SWEPT_PARTITIONS)
      ended.rotate(nowTick)
      return unsettled
    },

    async balances(holds, nowEpochMs) {
      return balancesOf(holds, momentOf(nowEpochMs))
    },

    async close() {
      partitions.clear()
      reservations.clear()
      byIdempotencyKey.clear()
      ended.clear()
    },

    knows: isKnown,

    tickAt(nowEpochMs) {
      momentOf(nowEpochMs)
      return tick()
    },

    size: () => ({
      partitions: partitions.count(),
      reservations: reservations.size,
      idempotencyKeys: byIdempotencyKey.size + ended.count(),
    }),
  }
}

function isOpen(placement: Placement): boolean {
  return placement.state.timeline.kind === 'open'
}

/** What was reserved is spent instead, up to what was reserved; in an open window it is free again. */
function spend(placement: Placement, actual: number, nowEpochMs: number): void {
  const { counted } = placement
  const spent = isOpen(placement) ? 0 : Math.min(actual, counted)
  change(placement, { spent, reserved: -counted }, nowEpochMs)
}

/** What the lease left as spent in full comes down to what was used. An open window was freed by the lease. */
function correct(placement: Placement, actual: number, nowEpochMs: number): void {
  if (isOpen(placement)) return
  const { counted } = placement
  change(placement, { spent: Math.min(actual, counted) - counted, reserved: 0 }, nowEpochMs)
}
