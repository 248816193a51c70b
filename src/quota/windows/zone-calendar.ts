import { DAY_MS, HOUR_MS, MINUTE_MS } from '../../units.js'
import type { CalendarPeriod } from '../quota.js'

/** One calendar window: from the first millisecond that belongs to it to the first that does not. */
export interface CalendarSpan {
  readonly startEpochMs: number
  readonly endEpochMs: number
}

/**
 * The calendar window around a moment, in an IANA time zone. The boundaries of a period and zone are one
 * fixed set of instants, so windows never overlap and leave no gap, whatever the clocks of the zone do:
 *
 * - `minute`, `hour`: whenever the zone's clock shows a full minute or hour. An hour that is repeated when
 *   summer time ends is a window of its own; where the clock moves by half an hour (Lord Howe), one window
 *   lasts an hour and a half.
 * - `day`, `week`, `month`, `year`: when the zone's clock comes to show the new date, also where midnight does not exist; once,
 *   also where it then goes back over midnight. A day has 23 or 25 hours when the clock changes; a date that
 *   the zone skips has no window. A week begins with its Monday (ISO 8601).
 *
 * Costs some 7 calls of Intl, some 60 where the clock changes; `calendar-timeline.ts` keeps the answers.
 *
 * @throws RangeError the time zone is not known
 */
export function createZoneCalendar(
  period: CalendarPeriod,
  timeZone: string,
): (epochMs: number) => CalendarSpan {
  const offsetMsAt = createOffsetLookup(timeZone)
  const dayAt = (epochMs: number): number => Math.floor((epochMs + offsetMsAt(epochMs)) / DAY_MS)
  const zone = { offsetMsAt, dayAt }
  switch (period) {
    case 'minute':
      // Every zone's offset has been whole minutes since 1972, so its minutes are those of UTC.
      return (epochMs) => spanFrom(Math.floor(epochMs / MINUTE_MS) * MINUTE_MS, MINUTE_MS)
    case 'hour':
      return (epochMs) => hourAround(epochMs, offsetMsAt)
    case 'day':
      return (epochMs) => spanAround(epochMs, dayAt(epochMs), (day) => firstInstantOf(day, zone))
    case 'week':
      return (epochMs) =>
        spanAround(epochMs, weekOfDay(dayAt(epochMs)), (week) =>
          firstInstantOf(firstDayOfWeek(week), zone),
        )
    case 'month':
      return (epochMs) =>
        spanAround(epochMs, monthOfDay(dayAt(epochMs)), (month) =>
          firstInstantOf(firstDayOfMonth(month), zone),
        )
    case 'year':
      return (epochMs) =>
        spanAround(epochMs, Math.floor(monthOfDay(dayAt(epochMs)) / 12), (year) =>
          firstInstantOf(firstDayOfMonth(year * 12), zone),
        )
  }
}

interface Zone {
  /** What the zone's clock shows, less what a UTC clock shows. */
  readonly offsetMsAt: (epochMs: number) => number
  /** The date that the zone's clock shows, in days since 1970-01-01. */
  readonly dayAt: (epochMs: number) => number
}

function spanFrom(startEpochMs: number, lengthMs: number): CalendarSpan {
  return { startEpochMs, endEpochMs: startEpochMs + lengthMs }
}

function createOffsetLookup(timeZone: string): (epochMs: number) => number {
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone,
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    second: 'numeric',
  })
  return (epochMs) => {
    const wholeSecondMs = Math.floor(epochMs / 1000) * 1000
    const shown = new Map<string, number>()
    for (const { type, value } of format.formatToParts(wholeSecondMs)) {
      shown.set(type, Number(value))
    }
    const part = (type: string): number => shown.get(type) ?? 0
    const shownMs = Date.UTC(
      part('year'),
      part('month') - 1,
      part('day'),
      part('hour'),
      part('minute'),
      part('second'),
    )
    return shownMs - wholeSecondMs
  }
}

function hourAround(epochMs: number, offsetMsAt: (epochMs: number) => number): CalendarSpan {
  const offsetMs = offsetMsAt(epochMs)
  const startEpochMs = Math.floor((epochMs + offsetMs) / HOUR_MS) * HOUR_MS - offsetMs
  const beforeMs = offsetMsAt(epochMs - 2 * HOUR_MS)
  const afterMs = offsetMsAt(epochMs + 2 * HOUR_MS)
  if (isMultipleOf(HOUR_MS, beforeMs - offsetMs) && isMultipleOf(HOUR_MS, afterMs - offsetMs)) {
    return spanFrom(startEpochMs, HOUR_MS)
  }
  // The marks move: of the marks under each offset near by, those count at which that offset is in force.
  const marks = [offsetMs, beforeMs, afterMs]
    .flatMap((offset) => {
      const mark = Math.floor((epochMs + offset) / HOUR_MS) * HOUR_MS - offset
      return [mark - HOUR_MS, mark, mark + HOUR_MS, mark + 2 * HOUR_MS]
    })
    .filter((mark) => isMultipleOf(HOUR_MS, mark + offsetMsAt(mark)))
  return {
    startEpochMs: Math.max(...marks.filter((mark) => mark <= epochMs)),
    endEpochMs: Math.min(...marks.filter((mark) => mark > epochMs)),
  }
}

function isMultipleOf(divisor: number, value: number): boolean {
  return value % divisor === 0
}

/**
 * The window among those that begin at `startOf(0)`, `startOf(1)`, ... that holds the moment. `near` is the
 * period that the clock shows; the clock can go back over midnight, the window does not.
 */
function spanAround(
  epochMs: number,
  near: number,
  startOf: (index: number) => number,
): CalendarSpan {
  let index = near
  let startEpochMs = startOf(index)
  while (startEpochMs > epochMs) startEpochMs = startOf(--index)
  let endEpochMs = startOf(index + 1)
  while (endEpochMs <= epochMs) {
    startEpochMs = endEpochMs
    endEpochMs = startOf(++index + 1)
  }
  return { startEpochMs, endEpochMs }
}

/** The millisecond at which the zone comes to show the date, or one after it. Days count from 1970-01-01. */
function firstInstantOf(day: number, zone: Zone): number {
  const midnightMs = day * DAY_MS
  const likelyMs = midnightMs - zone.offsetMsAt(midnightMs)
  if (zone.dayAt(likelyMs) >= day && zone.dayAt(likelyMs - 1) < day) return likelyMs
  // The clock changes near by. No zone is further than 14 hours from UTC.
  let before = midnightMs - 16 * HOUR_MS
  let from = midnightMs + 16 * HOUR_MS
  while (from - before > 1) {
    const middle = Math.floor((before + from) / 2)
    if (zone.dayAt(middle) >= day) from = middle
    else before = middle
  }
  return from
}

/** Weeks since the Monday before 1970-01-01, which was a Thursday. */
function weekOfDay(day: number): number {
  return Math.floor((day + 3) / 7)
}

function firstDayOfWeek(week: number): number {
  return week * 7 - 3
}

function monthOfDay(day: number): number {
  const date = new Date(day * DAY_MS)
  return date.getUTCFullYear() * 12 + date.getUTCMonth()
}

function firstDayOfMonth(month: number): number {
  return Date.UTC(Math.floor(month / 12), month % 12, 1) / DAY_MS
}
