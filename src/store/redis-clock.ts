import type { Clock } from '../clock.js'

/**
 * What this process knows of Redis's clock: by how much it is ahead of the monotonic clock here, between two
 * bounds. Each reply carries the moment at which it was made, some time between sending and receiving; the
 * bounds of several replies narrow each other down. The clock of this machine does not come into it.
 */
export interface RedisClock {
  learn(redisMs: number, sentMonotonicMs: number, receivedMonotonicMs: number): void
  /** The earliest that Redis's clock can show at a moment of the monotonic clock; undefined before any reply. */
  atMonotonic(monotonicMs: number): number | undefined
}

export function createRedisClock(): RedisClock {
  let low = NaN
  let high = NaN
  return {
    learn(redisMs, sentMonotonicMs, receivedMonotonicMs) {
      const atLeast = redisMs - receivedMonotonicMs
      // Whole milliseconds: up to one was cut off.
      const atMost = redisMs + 1 - sentMonotonicMs
      if (atLeast <= high && atMost >= low) {
        low = Math.max(low, atLeast)
        high = Math.min(high, atMost)
      } else {
        // The first, or one of the clocks was set, or has drifted: what was known is no longer true.
        low = atLeast
        high = atMost
      }
    },
    atMonotonic: (monotonicMs) => (Number.isNaN(low) ? undefined : Math.floor(monotonicMs + low)),
  }
}

/** The process's idea of Redis time now. */
export function redisNowMs(
  redisClock: RedisClock,
  clock: Pick<Clock, 'monotonicMs'>,
): number | undefined {
  return redisClock.atMonotonic(clock.monotonicMs())
}
