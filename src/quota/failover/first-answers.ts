import { isCarriedByNone, withCarrier, withoutCarrier } from '../carriers.js'
import type { Carriers } from '../carriers.js'
import { createDeadlineQueue, takeAllDue } from '../deadline-queue.js'
import type { Queued } from '../deadline-queue.js'
import type { GuardedHeld } from './guarded-ledger.js'
import type { ReserveRequest } from '../ledger.js'

/** What a process answered the calls of streams that are held, for when their store cannot be asked. */
export interface FirstAnswers<Context> {
  add(
    request: Pick<ReserveRequest<Context>, 'idempotencyKey' | 'leaseMs'>,
    held: GuardedHeld<Context>,
    nowEpochMs: number,
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
   *   one that was not repeated here is that itself. Undefined: another answer here carries the reservation.
   */
  giveUp(id: string, carrier: string): string | undefined
  /** It ended: its stream is over. */
  remove(id: string): void
  forgetDue(nowEpochMs: number): void
  clear(): void
}

interface First<Context> extends Queued {
  readonly idempotencyKey: string
  readonly held: GuardedHeld<Context>
  /** The first answer, which the store knows, and those that were given for it here. */
  carriers: Carriers
}

/** The oldest beyond are forgotten: their repeats are decided anew while the store is away. */
const MAX_FIRST = 200_000

export function createFirstAnswers<Context>(): FirstAnswers<Context> {
  const byKey = new Map<string, First<Context>>()
  const byId = new Map<string, First<Context>>()
  const queue = createDeadlineQueue<First<Context>>()

  function drop(first: First<Context>): void {
    byKey.delete(first.idempotencyKey)
    byId.delete(first.held.reservation.id)
    queue.remove(first)
  }

  function remove(id: string): void {
    const first = byId.get(id)
    if (first !== undefined) drop(first)
  }

  return {
    add({ idempotencyKey, leaseMs }, held, nowEpochMs) {
      const { id } = held.reservation
      const before = byKey.get(idempotencyKey)
      if (before?.held.reservation.id === id) return
      if (before !== undefined) drop(before)
      if (byKey.size >= MAX_FIRST) {
        const oldest = queue.takeDue(Infinity)
        if (oldest !== undefined) drop(oldest)
      }
      const answer = { ...held, repeated: true, balances: [] }
      const carriers = [held.carrier]
      const first = { idempotencyKey, held: answer, carriers, queuePosition: -1 }
      byKey.set(idempotencyKey, first)
      byId.set(id, first)
      // Its report may be as late as that.
      queue.put(first, nowEpochMs + 2 * leaseMs)
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
    forgetDue(nowEpochMs) {
      for (const first of takeAllDue(queue, nowEpochMs)) drop(first)
    },
    clear() {
      byKey.clear()
      byId.clear()
    },
  }
}
