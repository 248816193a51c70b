import { DAY_MS, HOUR_MS, MINUTE_MS } from '../../units.js'
import type { CalendarPeriod } from '../quota.js'
import type { Timeline } from './timeline.js'
import { createZoneCalendar } from './zone-calendar.js'
import type { CalendarSpan } from './zone-calendar.js'

/** Boundaries further ahead are told by the nominal length, which bounds the work of one answer. */
const EXACT_BOUNDARIES_AHEAD = 32

/** Kept ends of windows; beyond, all are dropped and found again. */
const MAX_KEPT_ENDS = 1024

const nominalMs: Record<CalendarPeriod, number> = {
  minute: MINUTE_MS,
  hour: HOUR_MS,
  day: DAY_MS,
  week: 7 * DAY_MS,
  month: 31 * DAY_MS,
  year: 366 * DAY_MS,
}

/**
 * From boundary to boundary in a time zone. A cell is a window, named by its first millisecond; one counts at
 * a time. The debt falls by the limit at each boundary.
 *
 * @throws RangeError the time zone is not known
 */
export function createCalendarTimeline(period: CalendarPeriod, timeZone: string): Timeline {
  const spanAround = createZoneCalendar(period, timeZone)
  const ends = new Map<number, number>()
  let current: CalendarSpan = { startEpochMs: 0, endEpochMs: 0 }

  // Intl is asked at boundaries only, not per request.
  const cellAt = (epochMs: number): number => {
    if (epochMs < current.startEpochMs || epochMs >= current.endEpochMs) {
      current = spanAround(epochMs)
    }
    return current.startEpochMs
  }

  const endOf = (cell: number): number => {
    if (cell === current.startEpochMs) return current.endEpochMs
    let end = ends.get(cell)
    if (end === undefined) {
      if (ends.size >= MAX_KEPT_ENDS) ends.clear()
      end = spanAround(cell).endEpochMs
      ends.set(cell, end)
    }
    return end
  }

  return {
    kind: 'calendar',
    cellAt,
    oldestCellAt: cellAt,
    leavesAtMs: endOf,
    carryParts: 1,
    debtBeginsAtMs: cellAt,
    debtAt(debt, limit, nowEpochMs) {
      const now = cellAt(nowEpochMs)
      let cell = debt.sinceEpochMs
      let amount = debt.amount
      while (cell < now && amount > 0) {
        amount -= limit
        cell = endOf(cell)
      }
      return amount > 0 ? { amount, carry: 0, sinceEpochMs: now } : undefined
    },
    debtReachesAtMs(debt, limit, target) {
      const boundaries = Math.ceil(Math.max(0, debt.amount - target) / limit)
      let cell = debt.sinceEpochMs
      const exact = Math.min(boundaries, EXACT_BOUNDARIES_AHEAD)
      for (let passed = 0; passed < exact; passed += 1) cell = endOf(cell)
      return cell + (boundaries - exact) * nominalMs[period]
    },
  }
}
