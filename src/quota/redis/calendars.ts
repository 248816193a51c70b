import type { CalendarPeriod, Window } from '../quota.js'
import { spell } from '../windows/windows.js'
import { createZoneCalendar } from '../windows/zone-calendar.js'
import type { CalendarSpan } from '../windows/zone-calendar.js'

/**
 * For a calendar window by its name: first milliseconds of windows that follow each other. False: this process does not
 * know its time zone, so a script reads nothing of that window, as of one of a later release.
 */
export type Calendars = Record<string, readonly number[] | false>

/**
 * Scripts know no time zones, so each call brings the boundaries of its calendar windows: those of the window
 * around the moment, of the one before and of the one after.
 */
export interface CalendarSource {
  around(windows: readonly Window[], atEpochMs: number): Calendars
  /** Of every calendar window that was ever asked for, up to a bound: a reservation of another process has its own. */
  aroundAll(atEpochMs: number): Calendars
  /** The boundaries from an earlier moment on, for a debt that nobody looked at since. */
  since(name: string, fromEpochMs: number, atEpochMs: number): readonly number[] | false
}

const MAX_KNOWN_WINDOWS = 64

/** Windows of a debt that are counted one by one. Beyond, it falls by one for the rest: more debt, never less. */
const MAX_BOUNDARIES = 4096

interface Calendar {
  readonly spanAround: (epochMs: number) => CalendarSpan
  /** Boundaries around the window that is current: before, its start, its end, after. */
  starts: readonly number[]
}

export function createCalendarSource(): CalendarSource {
  const known = new Map<string, Calendar>()

  /** Undefined for a zone that only another process knows: its data of time zones are newer. */
  function calendarNamed(name: string): Calendar | undefined {
    let calendar = known.get(name)
    if (calendar === undefined) {
      const [, period, timeZone] = name.split(' ') as [string, CalendarPeriod, string]
      const spanAround = spanAroundIn(period, timeZone)
      if (spanAround === undefined) return undefined
      calendar = { spanAround, starts: [] }
      if (known.size >= MAX_KNOWN_WINDOWS) known.clear()
      known.set(name, calendar)
    }
    return calendar
  }

  function startsAround(calendar: Calendar, atEpochMs: number): readonly number[] {
    const [, start, end] = calendar.starts
    if (start === undefined || end === undefined || atEpochMs < start || atEpochMs >= end) {
      const current = calendar.spanAround(atEpochMs)
      const before = calendar.spanAround(current.startEpochMs - 1)
      const after = calendar.spanAround(current.endEpochMs)
      calendar.starts = [
        before.startEpochMs,
        current.startEpochMs,
        current.endEpochMs,
        after.endEpochMs,
      ]
    }
    return calendar.starts
  }

  return {
    around(windows, atEpochMs) {
      const calendars: Calendars = {}
      for (const window of windows) {
        if (window.kind !== 'calendar') continue
        const name = spell(window)
        const calendar = calendarNamed(name)
        calendars[name] = calendar !== undefined && startsAround(calendar, atEpochMs)
      }
      return calendars
    },
    aroundAll(atEpochMs) {
      const calendars: Calendars = {}
      for (const [name, calendar] of known) calendars[name] = startsAround(calendar, atEpochMs)
      return calendars
    },
    since(name, fromEpochMs, atEpochMs) {
      const calendar = calendarNamed(name)
      if (calendar === undefined) return false
      const around = startsAround(calendar, atEpochMs)
      const first = around[0] as number
      const starts: number[] = []
      let { startEpochMs, endEpochMs } = calendar.spanAround(fromEpochMs)
      while (startEpochMs < first && starts.length < MAX_BOUNDARIES) {
        starts.push(startEpochMs)
        startEpochMs = endEpochMs
        endEpochMs = calendar.spanAround(startEpochMs).endEpochMs
      }
      return [...starts, ...around]
    },
  }
}

function spanAroundIn(
  period: CalendarPeriod,
  timeZone: string,
): Calendar['spanAround'] | undefined {
  try {
    return createZoneCalendar(period, timeZone)
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}
