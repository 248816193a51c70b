import type { Clock } from '../clock.js'
import type { Ask, Count, Counters, CountersOptions } from './counters.js'
import { MAX_COUNT } from './counters.js'
import { counterHash } from './keys.js'

export interface OverLimitCacheOptions extends CountersOptions {
  readonly clock: Pick<Clock, 'monotonicMs'>
  /** How much memory it may take. */
  readonly maxBytes: number
}

/** What a remembered counter takes at most: its hash, two numbers, and a place in a Map. */
const BYTES_EACH = 256

interface Remembered {
  readonly untilMonotonicMs: number
  /** It was over this one; a larger one has to be asked for. */
  readonly limit: number
}

/**
 * Remembers which counters are over until their windows end, and asks no store for those: no answer becomes
 * stricter by it, since a counter only grows within its window. But one that hits were given back to in another
 * process is taken for over until its window ends.
 */
export function withOverLimitCache(counters: Counters, options: OverLimitCacheOptions): Counters {
  const { clock, stopWhenOver, maxBytes } = options
  // Two generations: taking out the oldest one by one walks over what was deleted before.
  const maxEach = Math.floor(maxBytes / BYTES_EACH / 2)
  let young = new Map<string, Remembered>()
  let old = new Map<string, Remembered>()

  function find(key: string, { limit, isRefund }: Ask, nowMs: number): Count | undefined {
    if (isRefund) return undefined
    const known = young.get(key) ?? old.get(key)
    if (known === undefined || known.limit < limit.requestsPerUnit) return undefined
    const resetMs = known.untilMonotonicMs - nowMs
    if (resetMs <= 0) return undefined
    return { before: MAX_COUNT, after: MAX_COUNT, resetMs, isRemembered: true }
  }

  function learn(key: string, { limit, isRefund }: Ask, count: Count, askedMs: number): void {
    if (count.after <= limit.requestsPerUnit) {
      if (isRefund) {
        young.delete(key)
        old.delete(key)
      }
      return
    }
    if (young.size >= maxEach) {
      old = young
      young = new Map()
    }
    // Counted from before the store was asked: none is refused in the next window.
    const untilMonotonicMs = askedMs + count.resetMs
    young.set(key, { untilMonotonicMs, limit: limit.requestsPerUnit })
  }

  return {
    async count(domain, asks) {
      const nowMs = clock.monotonicMs()
      const wanted = asks.map((ask) => {
        const key = counterHash(domain, ask)
        return { ask, key, found: find(key, ask, nowMs) }
      })
      const unknown = wanted.filter(({ found }) => found === undefined)
      const isStopped = stopWhenOver && unknown.length < wanted.length
      const asked = unknown.map(({ ask }) =>
        isStopped && !ask.isRefund ? { ...ask, hits: 0 } : ask,
      )
      const counts = asked.length === 0 ? [] : await counters.count(domain, asked)
      unknown.forEach(({ key, ask }, index) => {
        const count = counts[index]
        if (count !== undefined) learn(key, ask, count, nowMs)
      })
      let next = 0
      return wanted.map(({ found }) => found ?? (counts[next++] as Count))
    },
    close() {
      counters.close()
    },
  }
}
