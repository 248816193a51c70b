import type { Store } from '../../store/store.js'
import { createAsk } from '../redis/ask.js'
import type { Buckets } from '../redis/buckets.js'
import { createCalendarSource } from '../redis/calendars.js'
import { loadRedisScripts } from '../redis/scripts.js'
import { createBucketTurns } from './bucket-turns.js'
import type { BucketTurns, TurnsOptions } from './bucket-turns.js'
import type { Pending } from './slice-turn.js'
import type { Slice, Taking } from './slices.js'

/**
 * What a process tells the store of its slices: in turns of each bucket, at the same time, so that no bucket waits for
 * what the node of another does. One that nothing was told of is never asked; there are as many as the store has.
 */
export interface SliceTurns<Context> {
  adopt(pending: Pending<Context>): void
  /** It was not sent yet, and will not be. */
  withdraw(pending: Pending<Context>): void
  /** Adopts in the next turn what was set aside since it could not be adopted. */
  retry(pending: Pending<Context>): void
  giveBack(slice: Slice, amount: number): void
  take(taking: Taking): void
  /** As `BucketTurns`, of that bucket where it takes longest. */
  slicesIn(buckets: ReadonlySet<number>): { readonly turns: number; readonly ms: number }
  /** Something was given back that the store does not know yet. */
  isReturning(bucket: number): boolean
  /** How many turns of the bucket the store has answered by which something came back. */
  returned(bucket: number): number
  /** In each bucket one that was set aside is retried. */
  retryOldest(): void
  /**
   * As `BucketTurns`, of these buckets or of all. Over when all of them have succeeded or failed.
   *
   * @throws DependencyError one of them failed
   */
  flush(what?: 'all' | 'slices', buckets?: ReadonlySet<number>): Promise<void>
}

export interface SliceTurnsOptions<Context> extends TurnsOptions<Context> {
  readonly store: Store
  readonly buckets: Buckets
  readonly timeoutMs: number
  /** The moment at the node that has the bucket as the process knows it. */
  readonly nowAt: (bucket: number) => number
}

export function createSliceTurns<Context>(
  options: SliceTurnsOptions<Context>,
): SliceTurns<Context> {
  const { store, buckets, clock, timeoutMs, moments, nowAt } = options
  const { turn: script } = loadRedisScripts()
  const calendars = createCalendarSource()
  const ask = createAsk({ store, clock, calendars, timeoutMs, moments })
  const told = new Map<number, BucketTurns<Context>>()

  function turnsOf(bucket: number): BucketTurns<Context> {
    let turns = told.get(bucket)
    if (turns === undefined) {
      const own = { bucket, tag: buckets.tagOf(bucket), nowMs: () => nowAt(bucket) }
      turns = createBucketTurns({ ...options, script, ask, calendars, ...own })
      told.set(bucket, turns)
    }
    return turns
  }

  function ofPartition(partitionKey: string): BucketTurns<Context> {
    return turnsOf(buckets.ofPartition(partitionKey))
  }

  /** Those of the buckets that something was told of. */
  function those(which: ReadonlySet<number>): readonly BucketTurns<Context>[] {
    return [...which].flatMap((bucket) => told.get(bucket) ?? [])
  }

  return {
    adopt(pending) {
      for (const { bucket } of pending.parts) turnsOf(bucket).adopt(pending)
    },
    withdraw(pending) {
      for (const { bucket } of pending.parts) turnsOf(bucket).withdraw(pending)
    },
    retry(pending) {
      for (const { bucket } of pending.parts) turnsOf(bucket).retry(pending)
    },
    giveBack(slice, amount) {
      ofPartition(slice.hold.partitionKey).giveBack(slice, amount)
    },
    take(taking) {
      ofPartition(taking.hold.partitionKey).take(taking)
    },
    slicesIn(which) {
      const each = those(which).map((turns) => turns.slicesIn())
      return {
        turns: Math.max(0, ...each.map(({ turns }) => turns)),
        ms: Math.max(0, ...each.map(({ ms }) => ms)),
      }
    },
    isReturning: (bucket) => told.get(bucket)?.isReturning() === true,
    returned: (bucket) => told.get(bucket)?.returned() ?? 0,
    retryOldest() {
      for (const turns of told.values()) turns.retryOldest()
    },
    async flush(what = 'all', which = new Set(told.keys())) {
      const outcomes = await Promise.allSettled(those(which).map((turns) => turns.flush(what)))
      for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
    },
  }
}
