import { randomUUID } from 'node:crypto'
import type { Clock } from '../../clock.js'
import type { Store } from '../../store/store.js'
import { shortageWhereUsedUp, shortHolds } from '../balance.js'
import type { Seen } from '../balance.js'
import { createBuckets } from './buckets.js'
import type { Buckets } from './buckets.js'
import type { Ended, Hold, Ledger } from '../ledger.js'
import type { Calendars } from './calendars.js'
import { endedBeside } from '../expired.js'
import { createRedisEnds } from './ends.js'
import { rememberedIn } from '../remembered.js'
import type { Remembered } from '../remembered.js'
import type { RedisEnds } from './ends.js'
import { storedDueSlices, storedLeases, storedPartition } from './stored-keys.js'
import { createReserve } from './reserve.js'
import { balancesOf, createRedisRoom, unexpected } from './room.js'
import { askedBefore } from '../request.js'
import { spell } from '../windows/windows.js'

export interface RedisLedgerOptions {
  readonly store: Store
  readonly clock: Pick<Clock, 'monotonicMs'>
  /** How long a call may take, all in all. Afterwards it has failed, and takes no effect. */
  readonly timeoutMs: number
  /** As of the memory ledger. Default 60 s. */
  readonly rememberEndedMs?: number
  /** Of the process that asks, as no other has it. Default: by chance. */
  readonly processId?: string
  /** What this process remembers at most. */
  readonly remembered?: Remembered
  /** Default: one, which is what a single server wants. */
  readonly buckets?: Buckets
  /** Buckets whose leases one `expire` looks at, in turn. */
  readonly bucketsPerExpire?: number
  /**
   * Whose moments count: Redis's own, or, in tests alone, those that the caller passes. Deadlines are always in
   * Redis's time.
   */
  readonly moments?: 'redis' | 'given'
}

export interface RedisLedger<Context> extends Ledger<Context> {
  readonly end: RedisEnds<Context>['end']
  readonly abandon: RedisEnds<Context>['abandon']
}

/** What `expire` ends: some 1 ms of Redis's time in one piece, and so many pieces beyond one of each bucket. */
const MAX_EXPIRED_PER_CALL = 32
const MAX_FURTHER_CALLS = 80
/** With 256 buckets and a call a second, a lease is ended at most 8 s late. */
const BUCKETS_PER_EXPIRE = 32

/**
 * A ledger on Redis, shared by all processes that use it: one server, or a cluster.
 *
 * One script call decides and one ends, in a cluster one for each bucket that the request's quotas are in; `lua/` has
 * them. What `exhausted` answers comes from the last replies, and what `find` answers from this process's own memory
 * where it made the reservation. A call that failed takes no effect later: it carries a deadline in Redis's time, and a
 * reserve whose answer was lost is abandoned.
 *
 * Misuse rejects with a RangeError, as in the memory ledger.
 */
export function createRedisLedger<Context>(options: RedisLedgerOptions): RedisLedger<Context> {
  const { store, rememberEndedMs = 60_000, moments = 'redis' } = options
  const { buckets = createBuckets(1), bucketsPerExpire = BUCKETS_PER_EXPIRE } = options
  const { remembered = rememberedIn(), processId = randomUUID() } = options
  const room = createRedisRoom<Context>({
    ...options,
    ...{ rememberEndedMs, remembered, moments, buckets, processId },
  })
  const { scripts, ask, calendars, reader, own, last, aroundAll } = room
  const ends = createRedisEnds(room)
  const reserve = createReserve(room, ends)
  let nextBucket = 0

  /** Ends what is due in a bucket, piece by piece; adds what of it is now unsettled, and what of it cannot be read. */
  async function runOut(
    bucket: number,
    unsettled: Ended<Context>[],
    failures: unknown[],
    mayGoOn: () => boolean,
    nowEpochMs: number,
  ): Promise<void> {
    const tag = buckets.tagOf(bucket)
    const key = storedLeases(tag)
    const call = { atMost: MAX_EXPIRED_PER_CALL, due: storedDueSlices(tag) }
    const nowMs = room.nowAt(nowEpochMs, key)
    let further: Calendars = {}
    const around = (atMs: number): Calendars => ({ ...aroundAll(atMs), ...further })
    do {
      const reply = await ask(scripts.expire, [key], call, nowMs, around)
      if (reply[0] !== 'expired') throw unexpected(reply[0])
      const [, , ended, more, missing] = reply
      for (const told of ended) {
        try {
          const reservation = own.get(told[0]) ?? reader.read(told)
          own.prolong(told[0], nowMs)
          const charges = reservation.holds.map(({ amount }) => ({ actual: amount, debt: 0 }))
          unsettled.push({ reservation, outcome: 'unsettled', late: false, charges })
        } catch (error) {
          // Each by itself: all of the piece have ended, and nobody else is told of the others.
          failures.push(error)
        }
      }
      if (more === 0) return
      if (missing === undefined) continue
      const [, , atMs, name, fromMs] = missing
      further = { ...further, [name]: calendars.since(name, fromMs, atMs) }
    } while (mayGoOn())
  }

  return {
    async exhausted({ holds, idempotencyKey }, nowEpochMs) {
      const seen: Seen[] = []
      for (const [index, hold] of holds.entries()) {
        const tag = buckets.tagOf(buckets.ofPartition(hold.partitionKey))
        const atMs = room.nowAt(nowEpochMs, storedPartition(hold, tag))
        // A shadow quota makes nobody wait, whether it is known for how long or not.
        const amount = hold.quota.shadow ? 0 : hold.amount + askedBefore(holds, index)
        const asked = { ...hold, amount }
        const state = last.look(asked, room.timelineOf(hold), atMs)
        if (state === 'unknown') return undefined
        seen.push({ state, atMs })
      }
      const short = shortageWhereUsedUp(shortHolds(holds, seen))
      if (short === undefined || own.knows(idempotencyKey)) return undefined
      return { ...short, balances: balancesOf(holds, seen) }
    },

    reserve,

    find: (id, nowEpochMs) => ends.find(id, nowEpochMs),
    end: (id, end, nowEpochMs, tries, known) => ends.end(id, end, nowEpochMs, tries, known),
    abandon: (id, nowEpochMs, carrier, known) => ends.abandon(id, nowEpochMs, carrier, known),

    async expire(nowEpochMs, onFailure) {
      const failures: unknown[] = []
      const failed = (error: unknown): void => void failures.push(error)
      const ended: Ended<Context>[] = []
      await ends.retry(ended, nowEpochMs).catch(failed)

      let furtherCalls = MAX_FURTHER_CALLS
      const mayGoOn = (): boolean => (furtherCalls -= 1) >= 0
      const turn = Array.from(
        { length: Math.min(bucketsPerExpire, buckets.count) },
        (_, step) => (nextBucket + step) % buckets.count,
      )
      nextBucket = (nextBucket + turn.length) % buckets.count
      await Promise.all(
        turn.map((bucket) => runOut(bucket, ended, failures, mayGoOn, nowEpochMs).catch(failed)),
      )
      // Whatever has failed: what goes on failing would keep all of it for ever.
      const nowMs = room.nowAt(nowEpochMs, storedLeases(buckets.tagOf(0)))
      own.forgetDue(nowMs)
      ends.forgetDue(nowMs)
      return endedBeside(ended, failures, onFailure)
    },

    async balances(holds, nowEpochMs) {
      const [first] = holds
      if (first === undefined) return []
      const parts = buckets.partsOf(holds, buckets.ofPartition(first.partitionKey))
      const replies = await Promise.all(
        parts.map(async (part) => {
          const here = part.indices.map((index) => holds[index] as Hold)
          const call = {
            holds: here.map(({ quota }) => ({ limit: quota.limit, window: spell(quota.window) })),
          }
          const windows = here.map(({ quota }) => quota.window)
          const keys = room.partitionsOf(part, holds)
          const around = (atMs: number): Calendars => calendars.around(windows, atMs)
          const nowMs = room.nowAt(nowEpochMs, keys[0] ?? '')
          const reply = await ask(scripts.balances, keys, call, nowMs, around)
          if (reply[0] !== 'balances') throw unexpected(reply[0])
          return { part, figures: reply[3], atMs: reply[2] }
        }),
      )
      const seen: Seen[] = []
      for (const { part, figures, atMs } of replies) room.see(seen, part, holds, figures, atMs)
      return balancesOf(holds, seen)
    },

    size: () => ({ ...own.size(), toGiveBack: ends.toGiveBack() }),

    async close() {
      await ends.giveBackAtLast()
      store.close()
      own.clear()
      last.clear()
      ends.clear()
    },
  }
}
