import type { Timeline } from './timeline.js'

/**
 * From one multiple of the length since 1970 to the next, as envoyproxy/ratelimit counts: a week begins on a Thursday,
 * a month has 30 days, a year 365. A cell is a window, named by its first millisecond; one counts at a time. The
 * debt falls by the limit at each boundary.
 */
export function createFixedTimeline(lengthMs: number): Timeline {
  const cellAt = (epochMs: number): number => epochMs - (epochMs % lengthMs)
  return {
    kind: 'fixed',
    cellAt,
    oldestCellAt: cellAt,
    leavesAtMs: (cell) => cell + lengthMs,
    carryParts: 1,
    debtBeginsAtMs: cellAt,
    debtAt(debt, limit, nowEpochMs) {
      const now = cellAt(nowEpochMs)
      const boundaries = (now - debt.sinceEpochMs) / lengthMs
      // Where the product is no exact double it is beyond 2^53, and so beyond any debt.
      const amount = debt.amount - limit * boundaries
      return amount > 0 ? { amount, carry: 0, sinceEpochMs: now } : undefined
    },
    debtReachesAtMs(debt, limit, target) {
      const boundaries = Math.ceil(Math.max(0, debt.amount - target) / limit)
      return debt.sinceEpochMs + boundaries * lengthMs
    },
  }
}
