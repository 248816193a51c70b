import type { Ask, Count } from './counters.js'
import type { Match } from './rule.js'

/** What became of the hits of one descriptor; the names are those of envoyproxy/ratelimit's statistics. */
export interface Measure {
  readonly metricKey: string
  readonly hits: Readonly<Record<HitsKind, number>>
}

export const hitsKinds = [
  'total_hits',
  'over_limit',
  'near_limit',
  'over_limit_with_local_cache',
  'within_limit',
  'shadow_mode',
] as const

export type HitsKind = (typeof hitsKinds)[number]

const NONE = {
  total_hits: 0,
  over_limit: 0,
  near_limit: 0,
  over_limit_with_local_cache: 0,
  within_limit: 0,
  shadow_mode: 0,
}

/** Hits that are given back are not measured: what was counted once has happened. */
export function measure(match: Match, ask: Ask, count: Count, nearLimitRatio: number): Measure {
  return {
    metricKey: match.metricKey,
    hits: ask.isRefund ? NONE : measureHits(match, ask, count, nearLimitRatio),
  }
}

function measureHits(
  { rule }: Match,
  { hits, limit }: Ask,
  { before, after, isRemembered }: Count,
  nearLimitRatio: number,
): Measure['hits'] {
  const over = limit.requestsPerUnit
  // In single precision, as envoyproxy/ratelimit computes it.
  const near = Math.floor(Math.fround(Math.fround(over) * Math.fround(nearLimitRatio)))
  const isOver = after > over
  // What part of the hits lies beyond the limit; all of them if it was reached before.
  const overHits = !isOver ? 0 : before >= over ? hits : after - over
  return {
    total_hits: hits,
    over_limit: overHits,
    near_limit: between(near, over, before, after),
    over_limit_with_local_cache: isRemembered === true ? hits : 0,
    within_limit: isOver ? 0 : hits,
    shadow_mode: rule.shadowMode ? overHits : 0,
  }
}

/** How much of the way from `before` to `after` lies between the two. */
function between(low: number, high: number, before: number, after: number): number {
  return Math.max(0, Math.min(after, high) - Math.max(before, low))
}
