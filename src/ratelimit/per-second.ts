import type { Ask, Count, Counters, CountersOptions } from './counters.js'

export interface PerSecondOptions extends CountersOptions {
  /** Counts the limits per second; `rest` all others. */
  readonly second: Counters
  readonly rest: Counters
}

/**
 * Two stores, asked at once. With `stopWhenOver` a call that has limits in both is looked at first and then counted:
 * twice the round trips, and what other calls count in between is not seen. envoyproxy/ratelimit does so for all.
 */
export function splitPerSecond({ second, rest, stopWhenOver }: PerSecondOptions): Counters {
  async function ask(domain: string, asks: readonly Ask[]): Promise<readonly Count[]> {
    const seconds = asks.filter(isPerSecond)
    const others = asks.filter((each) => !isPerSecond(each))
    const [fromSecond, fromRest] = await Promise.all([
      seconds.length === 0 ? [] : second.count(domain, seconds),
      others.length === 0 ? [] : rest.count(domain, others),
    ])
    const counts = { second: fromSecond.values(), rest: fromRest.values() }
    return asks.map((each) => counts[isPerSecond(each) ? 'second' : 'rest'].next().value as Count)
  }

  return {
    async count(domain, asks) {
      const isSplit = asks.some(isPerSecond) && !asks.every(isPerSecond)
      if (!stopWhenOver || !isSplit) return ask(domain, asks)
      const stands = await ask(
        domain,
        asks.map((each) => ({ ...each, hits: 0, isRefund: false })),
      )
      const isOver = asks.map(
        ({ hits, isRefund, limit }, index) =>
          !isRefund && (stands[index]?.after ?? 0) + hits > limit.requestsPerUnit,
      )
      const stops = isOver.includes(true)
      return ask(
        domain,
        asks.map((each, index) =>
          stops && !each.isRefund && isOver[index] !== true ? { ...each, hits: 0 } : each,
        ),
      )
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
