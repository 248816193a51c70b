import type { Ask, Counters, CountersOptions } from './counters.js'
import { countInParts } from './parts.js'

export interface PerSecondOptions extends CountersOptions {
  /** Counts the limits per second; `rest` all others. */
  readonly second: Counters
  readonly rest: Counters
}

/** Two stores, each with its part of a call. */
export function splitPerSecond({ second, rest, stopWhenOver }: PerSecondOptions): Counters {
  return {
    count: (domain, asks) =>
      countInParts(asks, {
        parts: asks.map((ask) => (isPerSecond(ask) ? second : rest)),
        count: (counters, some) => counters.count(domain, some),
        stopWhenOver,
      }),
    close() {
      second.close()
      rest.close()
    },
  }
}

function isPerSecond({ limit }: Ask): boolean {
  return limit.unit === 'second'
}
