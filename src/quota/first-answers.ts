import { createDeadlineQueue } from './deadline-queue.js'
import type { Queued } from './deadline-queue.js'
import type { GuardedHeld } from './guarded-ledger.js'
import type { ReserveRequest } from './ledger.js'

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
  /** The same again, without figures; from now on two answers carry the reservation. */
  repeat(idempotencyKey: string): GuardedHeld<Context> | undefined
  /** Nobody has the answer: it is not repeated any more. False where another answer carries the reservation. */
  giveUp(id: string): boolean
  /** It ended: its stream is over. */
  remove(id: string): void
  forgetDue(nowEpochMs: number): void
  clear(): void
}

interface First<Context> extends Queued {
  readonly idempotencyKey: string
  readonly held: GuardedHeld<Context>
  repeated: boolean
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
      const first = { idempotencyKey, held: answer, repeated: false, queuePosition: -1 }
      byKey.set(idempotencyKey, first)
      byId.set(id, first)
      // Its report may be as late as that.
      queue.put(first, nowEpochMs + 2 * leaseMs)
    },
    knows: (idempotencyKey) => byKey.has(idempotencyKey),
    isPartial: (idempotencyKey) => byKey.get(idempotencyKey)?.held.fallback !== undefined,
    repeat(idempotencyKey) {
      const first = byKey.get(idempotencyKey)
      if (first !== undefined) first.repeated = true
      return first?.held
    },
    giveUp(id) {
      const first = byId.get(id)
      if (first?.repeated === true) return false
      remove(id)
      return true
    },
    remove,
    forgetDue(nowEpochMs) {
      for (
        let first = queue.takeDue(nowEpochMs);
        first !== undefined;
        first = queue.takeDue(nowEpochMs)
      ) {
        drop(first)
      }
    },
    clear() {
      byKey.clear()
      byId.clear()
    },
  }
}
