import type { Entry, RateLimit, RateLimitUnit } from './rule.js'
import { unitSeconds } from './rule.js'
import { SECOND_MS } from '../units.js'

/** What one descriptor of a call asks of its counter. */
export interface Ask {
  /** What the counter is of, beside the domain and the unit. */
  readonly counted: readonly Entry[]
  readonly limit: RateLimit
  /** 0 to 2^53 - 1; 0 asks without counting. */
  readonly hits: number
  /** The hits are given back; a counter never falls below 0. */
  readonly isRefund: boolean
}

/** Asks the same and counts nothing. */
export function withoutHits(ask: Ask): Ask {
  return { ...ask, hits: 0, isRefund: false }
}

/** Where a counter stands, in its window, around what a descriptor added. It stops at 2^53 - 1 instead of wrapping. */
export interface Count {
  readonly before: number
  readonly after: number
  /** Until its window is over: more than 0. */
  readonly resetMs: number
  /** It was over already when it was last asked, so it was neither asked nor counted again. */
  readonly isRemembered?: true
}

/**
 * Counts hits in fixed windows, aligned to the Unix epoch: all descriptors of a call at one moment, one after the
 * other, so that two of one counter see each other. Counts first: whether a limit is passed is for the caller to see.
 *
 * With `stopWhenOver` a call in which some descriptor comes to be over counts those that do, and no other.
 */
export interface Counters {
  /**
   * @param begunMonotonicMs when the call has begun, if it is asked in several rounds: its time is that of all
   * @returns one count for each ask, in their order
   * @throws DependencyError the store did not answer as it should, or has no room; nothing is known of the counters
   */
  count(domain: string, asks: readonly Ask[], begunMonotonicMs?: number): Promise<readonly Count[]>
  close(): void
}

export interface CountersOptions {
  readonly stopWhenOver: boolean
}

/**
 * Which asks count nothing: with `stopWhenOver`, those that do not come to be over where others of the call do.
 *
 * @param stands where each ask's counter stands before the call counts anything
 */
export function withheld(asks: readonly Ask[], stands: readonly number[]): readonly boolean[] {
  const isOver = asks.map(
    ({ hits, isRefund, limit }, index) =>
      !isRefund && (stands[index] ?? 0) + hits > limit.requestsPerUnit,
  )
  const stops = isOver.includes(true)
  return asks.map(({ isRefund }, index) => stops && !isRefund && isOver[index] !== true)
}

/** Counters are exact up to here, and stay here. */
export const MAX_COUNT = Number.MAX_SAFE_INTEGER

/** What is left of the window of a unit. */
export function resetMsAt(unit: RateLimitUnit, nowEpochMs: number): number {
  return (windowStartSeconds(unit, nowEpochMs) + unitSeconds[unit]) * SECOND_MS - nowEpochMs
}

/** The second in which the window of a unit has begun. */
export function windowStartSeconds(unit: RateLimitUnit, nowEpochMs: number): number {
  const seconds = Math.floor(nowEpochMs / SECOND_MS)
  return seconds - (seconds % unitSeconds[unit])
}
