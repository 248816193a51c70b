import { UndecidedError } from '../../errors.js'
import { createDeadlineQueue, takeSomeDue } from '../deadline-queue.js'
import type { Queued } from '../deadline-queue.js'
import type { End } from '../end.js'
import type { GuardedHeld } from './guarded-ledger.js'
import type { Ended, Held, Hold, Ledger, ReserveRequest } from '../ledger.js'
import { bytesOf } from '../remembered.js'
import type { Remembered } from '../remembered.js'
import { reserveWhatFits } from './reserve-what-fits.js'
import type { Fitted } from './reserve-what-fits.js'

/**
 * Reservations of two parts: what the store holds has its id there, which every process ends; what this process's share
 * holds beside it is known here alone, and has its lease where the report comes elsewhere, or where there is no room to
 * remember which belong together. What became of them is told once, with the first.
 */
export interface LocalParts<Context> {
  /** Holds the part of this process; `join` or `giveBack` follows. */
  reserve(
    request: ReserveRequest<Context>,
    holds: readonly Hold[],
    nowEpochMs: number,
  ): Promise<Fitted<Context>>
  giveBack(part: Held<Context>, nowEpochMs: number): Promise<void>
  /**
   * Both as one, with their holds as the request has them.
   *
   * @param nowTick by what leases of parts go, as that of `forgetDue`
   */
  join(
    request: ReserveRequest<Context>,
    inStore: Held<Context>,
    part: GuardedHeld<Context>,
    nowTick: number,
  ): GuardedHeld<Context>
  /** All that it holds, where it has a part here. */
  holdsOf(id: string): readonly Hold[] | undefined
  /**
   * Ends the part too.
   *
   * @param inStore what became of the other; undefined: it was told before, and that is not told again
   */
  end(
    id: string,
    end: End,
    inStore: Ended<Context> | undefined,
    nowEpochMs: number,
  ): Promise<Ended<Context> | undefined>
  /** @param carrier the call whose answer reached nobody, as the store knows it */
  abandon(id: string, carrier: string, nowEpochMs: number): Promise<void>
  /** What became of a reservation in the store, with what that makes of its part here. */
  told(ended: Ended<Context>): Ended<Context>
  /** Is it told with what became of it in the store? */
  isPart(ended: Ended<Context>): boolean
  forgetDue(nowTick: number): void
  /** Parts that are held here beside something in the store. */
  readonly count: () => number
  clear(): void
}

interface Joined extends Queued {
  readonly id: string
  readonly partId: string
  /** Of both, in the order of the request. */
  readonly holds: readonly Hold[]
  readonly here: ReadonlySet<Hold>
  /** The calls that carry the part, by what the store has them as. */
  readonly carriers: Map<string, string>
}

/** Too long for chance to make one of a random id. */
const PART_ID = 'local-part-of-'

export function createLocalParts<Context>(
  ledger: Ledger<Context>,
  { shared }: Remembered,
): LocalParts<Context> {
  const byId = new Map<string, Joined>()
  const queue = createDeadlineQueue<Joined>()
  /**
   * By the parts that are held. One part may have several: where a call was given up in the store, another one of its
   * stream holds anew there, and the same part here.
   */
  const byPart = new Map<string, Set<Joined>>()
  const taken = shared.join(queue, drop)

  /** With all others of its part, which ends once, with whichever is told first. */
  function drop(joined: Joined): void {
    for (const { id } of byPart.get(joined.partId) ?? []) forget(id)
    byPart.delete(joined.partId)
    // Its part may have ended before.
    forget(joined.id)
  }

  function forget(id: string): void {
    const joined = byId.get(id)
    if (joined === undefined) return
    queue.remove(joined)
    byId.delete(id)
    taken.freed(bytesOf(joined))
  }

  /** A part that ends so is held no longer, though what it was joined to may still be told. */
  async function giveUp(partId: string, carrier: string, nowEpochMs: number): Promise<void> {
    const ended = await ledger.abandon(partId, nowEpochMs, carrier)
    if (ended !== undefined) byPart.delete(partId)
  }

  return {
    async reserve(request, holds, nowEpochMs) {
      // A key of its own: a repeat is answered with both parts, or with none.
      const idempotencyKey = `${PART_ID}${request.idempotencyKey}`
      const asked = { ...request, id: PART_ID + request.id, idempotencyKey, holds }
      const fitted = await reserveWhatFits(asked, ledger, nowEpochMs)
      if ('refusing' in fitted || fitted.answer.kind === 'short') return fitted
      const { reservation, carrier, repeated } = fitted.answer
      const held = new Set(reservation.holds.map(({ partitionKey }) => partitionKey))
      const isAsked =
        holds.length === held.size && holds.every(({ partitionKey }) => held.has(partitionKey))
      if (!repeated || isAsked) return fitted
      // For a call of the same stream that runs beside it, another part of the store was away, or more of it: what this
      // one holds there, it would hold here as well.
      await giveUp(reservation.id, carrier, nowEpochMs)
      throw new UndecidedError('ledger', 'an earlier call with the same key holds something else')
    },

    async giveBack({ reservation, carrier }, nowEpochMs) {
      await giveUp(reservation.id, carrier, nowEpochMs)
    },

    join({ holds: asked, leaseMs }, inStore, part, nowTick) {
      const { id } = inStore.reservation
      const [there, here] = [inStore.reservation.holds, part.reservation.holds]
      const place = ({ partitionKey }: Hold): number =>
        asked.findIndex((hold) => hold.partitionKey === partitionKey)
      const holds = [...there, ...here].sort((one, other) => place(one) - place(other))
      const partId = part.reservation.id
      let joined = byId.get(id)
      // Two calls of one stream may both come to this. One that was given up may still be held in the store.
      if (joined?.partId !== partId) {
        if (joined !== undefined) drop(joined)
        joined = { id, partId, holds, here: new Set(here), carriers: new Map(), queuePosition: -1 }
        byId.set(id, joined)
        // Its report may be as late as that.
        queue.put(joined, nowTick + 2 * leaseMs)
        byPart.set(partId, (byPart.get(partId) ?? new Set()).add(joined))
        taken.took(bytesOf(joined))
      }
      joined.carriers.set(inStore.carrier, part.carrier)
      return {
        ...part,
        ...inStore,
        reservation: { ...inStore.reservation, holds },
        balances: inOrder(joined, inStore.balances, part.balances),
        shadowShort: [...inStore.shadowShort, ...part.shadowShort],
      }
    },

    holdsOf: (id) => byId.get(id)?.holds,

    async end(id, end, inStore, nowEpochMs) {
      const joined = byId.get(id)
      if (joined === undefined) return inStore
      drop(joined)
      const part = await ledger.end(joined.partId, end, nowEpochMs)
      return inStore && part ? whole(joined, inStore, part.charges) : inStore
    },

    async abandon(id, carrier, nowEpochMs) {
      const joined = byId.get(id)
      const here = joined?.carriers.get(carrier)
      if (joined === undefined || here === undefined) return
      await giveUp(joined.partId, here, nowEpochMs)
    },

    told(ended) {
      const joined = byId.get(ended.reservation.id)
      if (joined === undefined) return ended
      const charges = [...joined.here].map(({ amount }) => ({
        actual: ended.outcome === 'released' ? 0 : amount,
        debt: 0,
      }))
      return whole(joined, ended, charges)
    },

    isPart: ({ reservation }) => reservation.id.startsWith(PART_ID),

    forgetDue(nowTick) {
      for (const joined of takeSomeDue(queue, nowTick, workOf)) drop(joined)
    },

    count: () => byPart.size,

    clear() {
      byId.clear()
      byPart.clear()
      taken.freedAll()
    },
  }
}

function workOf({ holds }: Joined): number {
  return 1 + holds.length
}

function whole<Context>(
  joined: Joined,
  inStore: Ended<Context>,
  charges: Ended<Context>['charges'],
): Ended<Context> {
  return {
    ...inStore,
    reservation: { ...inStore.reservation, holds: joined.holds },
    charges: inOrder(joined, inStore.charges, charges),
  }
}

function inOrder<T>({ holds, here }: Joined, inStore: readonly T[], ofPart: readonly T[]): T[] {
  const [store, part] = [inStore.values(), ofPart.values()]
  return holds.map((hold) => (here.has(hold) ? part : store).next().value as T)
}
