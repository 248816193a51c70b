import type { Clock } from '../clock.js'
import type { Ask, Counters, CountersOptions } from './counters.js'
import { countInParts } from './parts.js'

export interface PerSecondOptions extends CountersOptions {
  /** Counts the limits per second; `rest` all others. */
  readonly second: Counters
  readonly rest: Counters
  readonly clock: Pick<Clock, 'monotonicMs'>
}

/** Two stores, each with its part of a call. */
export function splitPerSecond(options: PerSecondOptions): Counters {
  const { second, rest, clock, stopWhenOver } = options
  return {
    count(domain, asks, begunMonotonicMs = clock.monotonicMs()) {
      return countInParts(asks, {
        parts: asks.map((ask) => (isPerSecond(ask) ? second : rest)),
        count: (counters, some) => counters.count(domain, some, begunMonotonicMs),
        stopWhenOver,
      })
    },
    close() {
      second.close()
      rest.close()
    },
  }
}

function isPerSecond({ limit }: Ask): boolean {
  return limit.unit === 'second'
}
