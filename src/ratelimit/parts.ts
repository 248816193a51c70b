import { withheld, withoutHits } from './counters.js'
import type { Ask, Count, CountersOptions } from './counters.js'

export interface PartsOptions<Part> extends CountersOptions {
  /** Of each ask, in their order: what it is counted with. Two of one counter are in one part. */
  readonly parts: readonly Part[]
  /** Counts the asks of a part, all at one moment, as `Counters` does. */
  readonly count: (part: Part, asks: readonly Ask[]) => Promise<readonly Count[]>
}

/**
 * Counts a call in several parts, asked at once. With `stopWhenOver` a call that has several is looked at first and
 * then counted: twice the round trips, and what other calls count in between is not seen. envoyproxy/ratelimit does so
 * for all. Where a part fails the call fails, and what the others have counted stays, as there.
 */
export async function countInParts<Part>(
  asks: readonly Ask[],
  { parts, count, stopWhenOver }: PartsOptions<Part>,
): Promise<readonly Count[]> {
  const placesOf = new Map<Part, number[]>()
  for (const [index, part] of parts.entries()) {
    const places = placesOf.get(part)
    if (places === undefined) placesOf.set(part, [index])
    else places.push(index)
  }

  async function countAll(all: readonly Ask[]): Promise<readonly Count[]> {
    const counts = new Array<Count>(all.length)
    await Promise.all(
      [...placesOf].map(async ([part, places]) => {
        const told = await count(
          part,
          places.map((place) => all[place] as Ask),
        )
        for (const [index, place] of places.entries()) counts[place] = told[index] as Count
      }),
    )
    return counts
  }

  if (!stopWhenOver || placesOf.size < 2 || !asks.some(isCounting)) return countAll(asks)
  const stands = await countAll(asks.map(withoutHits))
  const isWithheld = withheld(
    asks,
    stands.map(({ after }) => after),
  )
  return countAll(
    asks.map((ask, index) => (isWithheld[index] === true ? { ...ask, hits: 0 } : ask)),
  )
}

/** Is there anything to withhold? */
function isCounting({ hits, isRefund }: Ask): boolean {
  return hits > 0 && !isRefund
}
