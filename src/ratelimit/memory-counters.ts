import type { Clock } from '../clock.js'
import { DependencyError } from '../errors.js'
import { MAX_COUNT, resetMsAt, windowStartSeconds, withheld } from './counters.js'
import type { Ask, Count, Counters, CountersOptions } from './counters.js'
import { counterHash } from './keys.js'
import { unitSeconds } from './rule.js'
import type { RateLimitUnit } from './rule.js'

export interface MemoryCountersOptions extends CountersOptions {
  readonly clock: Pick<Clock, 'nowEpochMs'>
  /** Counters of all windows that have not passed. Default: `MAX_COUNTERS`. */
  readonly maxCounters?: number
}

/** However large the heap is. */
export const MAX_COUNTERS = 1_000_000
/**
 * Bytes of each at most (docs/measurements.md), and how much of the heap they may take: the ledger in memory beside them
 * may take two thirds.
 */
const COUNTER_BYTES = 120
const PART_OF_HEAP = 16

/** Counters that a heap of this size has room for. */
export function maxCountersIn(heapBytes: number): number {
  return Math.min(MAX_COUNTERS, Math.floor(heapBytes / PART_OF_HEAP / COUNTER_BYTES))
}

interface Window {
  readonly startSeconds: number
  readonly counts: Map<string, number>
}

/**
 * Counters of this process alone. Those of a window go all at once when it has passed. Where there is no room a call
 * that needs a new one fails: a flood of new descriptors pushes out nothing that still limits.
 */
export function createMemoryCounters(options: MemoryCountersOptions): Counters {
  const { clock, stopWhenOver, maxCounters = MAX_COUNTERS } = options
  const windows = new Map<RateLimitUnit, Window>()

  function windowAt(unit: RateLimitUnit, nowEpochMs: number): Window {
    const startSeconds = windowStartSeconds(unit, nowEpochMs)
    const known = windows.get(unit)
    // A clock that is set back by less than two windows admits nothing more.
    const backSeconds = (known?.startSeconds ?? -Infinity) - startSeconds
    if (known !== undefined && backSeconds >= 0 && backSeconds <= unitSeconds[unit]) return known
    const fresh = { startSeconds, counts: new Map<string, number>() }
    windows.set(unit, fresh)
    return fresh
  }

  function requireRoom(wanted: readonly Wanted[], nowEpochMs: number): void {
    const fresh = new Set<string>()
    for (const { ask, key, counts } of wanted) {
      if (ask.hits > 0 && !ask.isRefund && !counts.has(key)) fresh.add(key)
    }
    if (fresh.size === 0) return
    let held = 0
    for (const unit of [...windows.keys()]) held += windowAt(unit, nowEpochMs).counts.size
    if (held + fresh.size > maxCounters) {
      throw new DependencyError('rate_limit_store', 'no room for another counter in memory')
    }
  }

  return {
    async count(domain, asks) {
      const nowEpochMs = clock.nowEpochMs()
      const wanted = asks.map((ask) => ({
        ask,
        key: counterHash(domain, ask),
        counts: windowAt(ask.limit.unit, nowEpochMs).counts,
      }))
      requireRoom(wanted, nowEpochMs)
      // All before the first is counted: two of one counter would see each other.
      const stands = wanted.map(({ key, counts }) => counts.get(key) ?? 0)
      const isWithheld = stopWhenOver ? withheld(asks, stands) : []
      return wanted.map((each, index) =>
        countOne(each, isWithheld[index] === true ? 0 : each.ask.hits, nowEpochMs),
      )
    },
    close: () => undefined,
  }
}

interface Wanted {
  readonly ask: Ask
  readonly key: string
  readonly counts: Map<string, number>
}

function countOne({ ask, key, counts }: Wanted, hits: number, nowEpochMs: number): Count {
  const before = counts.get(key) ?? 0
  const after = ask.isRefund ? Math.max(0, before - hits) : Math.min(MAX_COUNT, before + hits)
  if (after === 0) counts.delete(key)
  else counts.set(key, after)
  return { before, after, resetMs: resetMsAt(ask.limit.unit, nowEpochMs) }
}
