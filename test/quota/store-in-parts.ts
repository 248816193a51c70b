import { setImmediate as nextTick } from 'node:timers/promises'
import { DependencyError, PartError, UndecidedError } from '../../src/errors.js'
import { createFailoverLedger } from '../../src/quota/failover/failover-ledger.js'
import type { GuardedLedger } from '../../src/quota/failover/guarded-ledger.js'
import type { Ended, Hold, Ledger, ReserveRequest } from '../../src/quota/ledger.js'
import { createMemoryLedger } from '../../src/quota/memory/memory-ledger.js'
import type { MemoryLedger } from '../../src/quota/memory/memory-ledger.js'
import { halfOfAll } from './claims-model.js'

/** A store of which some partitions can be away: what a Redis Cluster is to its processes, without a clock. */
export interface StoreInParts {
  readonly ledger: MemoryLedger<string>
  /** The partitions that cannot be reached. */
  readonly away: Set<string>
  /** The requests that came, by their ids. */
  readonly asked: string[]
  /** Runs before each answer, once. */
  beforeAnswer: (() => Promise<void>) | undefined
  /** When what a call held comes back that a part failed: before it fails, while the rest is asked, or a second later. */
  comesBack: () => 'before' | 'meanwhile' | 'later'
  join(): ProcessInParts
}

export interface ProcessInParts {
  readonly ledger: GuardedLedger<string>
  /** What it holds by its own share, which is half of each limit. */
  readonly local: MemoryLedger<string>
}

/** @param monotonicMs the clock of all that cannot be set; default: the moments of the calls */
export function createStoreInParts(monotonicMs?: () => number): StoreInParts {
  const clocks = monotonicMs === undefined ? {} : { monotonicMs }
  const ledger = createMemoryLedger<string>(clocks)
  const away = new Set<string>()
  /** The keys of calls that failed and hold something still. */
  const trying = new Set<string>()
  const toGiveBack: (() => Promise<Ended<string> | undefined>)[] = []
  const isAway = ({ partitionKey }: Hold): boolean => away.has(partitionKey)

  /** Fails where a part of what is held is away; nothing is ended by halves here. */
  async function reachAll(id: string, nowEpochMs: number): Promise<void> {
    const found = await ledger.find(id, nowEpochMs)
    if (found?.holds.some(isAway)) throw new DependencyError('ledger', 'a part is away')
  }

  async function reserve(request: ReserveRequest<string>, nowEpochMs: number) {
    const places = request.holds.flatMap((hold, index) => (isAway(hold) ? [index] : []))
    // It is found by its key, and not whole.
    if (trying.has(request.idempotencyKey)) {
      throw new UndecidedError('ledger', 'an earlier call with the same key is not done')
    }
    if (places.length === 0) {
      const answer = await ledger.reserve(request, nowEpochMs)
      if (answer.kind === 'short' || !answer.reservation.holds.some(isAway)) return answer
      await ledger.abandon(answer.reservation.id, nowEpochMs, answer.carrier)
      throw new UndecidedError('ledger', 'an earlier call cannot be seen everywhere')
    }
    if (places.length === request.holds.length) throw new DependencyError('ledger', 'it is away')
    const holds = request.holds.filter((hold) => !isAway(hold))
    const rest = { ...request, id: `try ${request.id}`, holds }
    const tried = await ledger.reserve(rest, nowEpochMs)
    if (tried.kind === 'short') return tried
    trying.add(request.idempotencyKey)
    const giveBack = async (): Promise<Ended<string> | undefined> => {
      trying.delete(request.idempotencyKey)
      return ledger.abandon(tried.reservation.id, nowEpochMs, tried.carrier)
    }
    const when = store.comesBack()
    if (when === 'before') await giveBack()
    if (when === 'later') toGiveBack.push(giveBack)
    const isBack =
      when === 'meanwhile'
        ? nextTick()
            .then(giveBack)
            .then(() => true)
        : Promise.resolve(when === 'before')
    throw new PartError('ledger', 'a part is away', places, isBack)
  }

  const store: StoreInParts = {
    ledger,
    away,
    asked: [],
    beforeAnswer: undefined,
    comesBack: () => 'before',
    join() {
      const local = createMemoryLedger<string>(clocks)
      /** What could not be given back. */
      const left = new Map<string, readonly [id: string, carrier: string]>()
      const main: Ledger<string> = {
        ...ledger,
        async reserve(request, nowEpochMs) {
          store.asked.push(request.id)
          const { beforeAnswer } = store
          store.beforeAnswer = undefined
          await beforeAnswer?.()
          return reserve(request, nowEpochMs)
        },
        async end(id, end, nowEpochMs) {
          await reachAll(id, nowEpochMs)
          return ledger.end(id, end, nowEpochMs)
        },
        async abandon(id, nowEpochMs, carrier = id) {
          left.set(`${id} ${carrier}`, [id, carrier])
          await reachAll(id, nowEpochMs)
          left.delete(`${id} ${carrier}`)
          return ledger.abandon(id, nowEpochMs, carrier)
        },
        async expire(nowEpochMs) {
          const ended: Ended<string>[] = []
          for (const giveBack of toGiveBack.splice(0)) {
            const told = await giveBack()
            if (told !== undefined) ended.push(told)
          }
          for (const [id, carrier] of left.values()) {
            const told = await main.abandon(id, nowEpochMs, carrier).catch(() => undefined)
            if (told !== undefined) ended.push(told)
          }
          return [...ended, ...(await ledger.expire(nowEpochMs))]
        },
      }
      const processes = { census: async () => halfOfAll }
      const shared = { ledger: local, processes, atLeast: 2, dueMonotonicMs: () => Infinity }
      return { ledger: createFailoverLedger({ main, local: shared }), local }
    },
  }
  return store
}
