import { isCarriedByNone, withCarrier, withoutCarrier } from '../carriers.js'
import type { Carriers } from '../carriers.js'
import { createDeadlineQueue, takeSomeDue } from '../deadline-queue.js'
import type { Queued } from '../deadline-queue.js'
import type { GuardedHeld } from './guarded-ledger.js'
import type { ReserveRequest } from '../ledger.js'
import { createRecent } from '../recent.js'
import { bytesOf, KEY_BYTES } from '../remembered.js'
import type { Remembered } from '../remembered.js'

/**
 * What a process answered the calls of streams that are held, for when their store cannot be asked. Where there is no
 * room for all, the oldest are forgotten: while the store is away their repeats are decided anew, which may charge a
 * stream twice, and lets none pass uncharged.
 */
export interface FirstAnswers<Context> {
  /** @param nowTick by what leases here go, as that of `forgetDue` */
  add(
    request: Pick<ReserveRequest<Context>, 'idempotencyKey' | 'leaseMs'>,
    held: GuardedHeld<Context>,
    nowTick: number,
  ): void
  knows(idempotencyKey: string): boolean
  /** Is it held by some of its quotas alone, as their store says or would say later? */
  isPartial(idempotencyKey: string): boolean
  /** The same again, without figures; the call carries the reservation too, and the store knows nothing of that. */
  repeat(
    request: Pick<ReserveRequest<Context>, 'idempotencyKey' | 'id'>,
  ): GuardedHeld<Context> | undefined
  /**
   * Nobody has the answer.
   *
   * @returns the carrier that the store is to be told of, where it knew the first answer alone and no other has that;
   *   one that was not repeated here is that itself. Undefined: another answer here carries the reservation, or may, since
   *   it was repeated before it was forgotten; then its report or its lease alone ends it.
   */
  giveUp(id: string, carrier: string): string | undefined
  /** It ended: its stream is over. */
  remove(id: string): void
  forgetDue(nowTick: number): void
  clear(): void
}

interface First<Context> extends Queued {
  readonly idempotencyKey: string
  readonly held: GuardedHeld<Context>
  /** The first answer, which the store knows, and those that were given for it here. */
  carriers: Carriers
}

export function createFirstAnswers<Context>({
  shared,
  eachBytes,
}: Remembered): FirstAnswers<Context> {
  const byKey = new Map<string, First<Context>>()
  const byId = new Map<string, First<Context>>()
  const queue = createDeadlineQueue<First<Context>>()
  /** Ids of what was forgotten though an answer that the store does not know of carries it. */
  const repeated = createRecent<true>(Infinity, {
    maxWeight: eachBytes,
    weightOf: () => KEY_BYTES,
  })
  const taken = shared.join(queue, (oldest) => {
    drop(oldest)
    const { held, carriers } = oldest
    if (withoutCarrier(carriers, held.carrier)?.length !== 0) {
      repeated.add(held.reservation.id, true)
    }
  })

  function drop(first: First<Context>): void {
    if (!byKey.delete(first.idempotencyKey)) return
    taken.freed(bytesOf(first.held.reservation))
    byId.delete(first.held.reservation.id)
    queue.remove(first)
  }

  function remove(id: string): void {
    const first = byId.get(id)
    if (first !== undefined) drop(first)
    repeated.remove(id)
  }

  return {
    add({ idempotencyKey, leaseMs }, held, nowTick) {
      const { id } = held.reservation
      const before = byKey.get(idempotencyKey)
      if (before?.held.reservation.id === id) return
      if (before !== undefined) drop(before)
      const answer = { ...held, repeated: true, balances: [] }
      const carriers = [held.carrier]
      const first = { idempotencyKey, held: answer, carriers, queuePosition: -1 }
      byKey.set(idempotencyKey, first)
      byId.set(id, first)
      // Its report may be as late as that.
      queue.put(first, nowTick + 2 * leaseMs)
      taken.took(bytesOf(held.reservation))
    },
    knows: (idempotencyKey) => byKey.has(idempotencyKey),
    isPartial: (idempotencyKey) => byKey.get(idempotencyKey)?.held.fallback !== undefined,
    repeat({ idempotencyKey, id }) {
      const first = byKey.get(idempotencyKey)
      if (first === undefined) return undefined
      first.carriers = withCarrier(first.carriers, id)
      return { ...first.held, carrier: id }
    },
    giveUp(id, carrier) {
      if (repeated.get(id) === true) return undefined
      const first = byId.get(id)
      const told = first?.held.carrier
      const isOfFirst = carrier === told || (first?.carriers?.includes(carrier) ?? true)
      if (first === undefined || !isOfFirst) return carrier
      first.carriers = withoutCarrier(first.carriers, carrier)
      if (!isCarriedByNone(first.carriers)) return undefined
      remove(id)
      return told
    },
    remove,
    forgetDue(nowTick) {
      for (const first of takeSomeDue(queue, nowTick, () => 1)) drop(first)
    },
    clear() {
      byKey.clear()
      byId.clear()
      repeated.clear()
      taken.freedAll()
    },
  }
}
