import { describe, expect, test } from 'vitest'
import type { CalendarPeriod } from '../../src/quota/quota.js'
import { createZoneCalendar } from '../../src/quota/windows/zone-calendar.js'

const iso = (epochMs: number): string => new Date(epochMs).toISOString().replace(/:00\.000Z$/, 'Z')

/** The window around a moment, as text. */
function windowAround(period: CalendarPeriod, timeZone: string, moment: string): string[] {
  const { startEpochMs, endEpochMs } = createZoneCalendar(period, timeZone)(Date.parse(moment))
  return [iso(startEpochMs), iso(endEpochMs)]
}

describe('a calendar window', () => {
  test.each([
    [
      'a minute',
      'minute',
      'UTC',
      '2026-02-02T10:30:59.999Z',
      '2026-02-02T10:30Z',
      '2026-02-02T10:31Z',
    ],
    [
      'a minute of Kathmandu',
      'minute',
      'Asia/Kathmandu',
      '2026-02-02T10:30Z',
      '2026-02-02T10:30Z',
      '2026-02-02T10:31Z',
    ],
    [
      'an hour',
      'hour',
      'UTC',
      '2026-02-02T10:59:59.999Z',
      '2026-02-02T10:00Z',
      '2026-02-02T11:00Z',
    ],
    [
      'an hour at 5:45 from UTC',
      'hour',
      'Asia/Kathmandu',
      '2026-02-02T10:14Z',
      '2026-02-02T09:15Z',
      '2026-02-02T10:15Z',
    ],
    [
      'an hour that summer time skips to',
      'hour',
      'Europe/Berlin',
      '2026-03-29T01:00Z',
      '2026-03-29T01:00Z',
      '2026-03-29T02:00Z',
    ],
    [
      'an hour before it is repeated',
      'hour',
      'Europe/Berlin',
      '2026-10-25T00:30Z',
      '2026-10-25T00:00Z',
      '2026-10-25T01:00Z',
    ],
    [
      'an hour that is repeated',
      'hour',
      'Europe/Berlin',
      '2026-10-25T01:30Z',
      '2026-10-25T01:00Z',
      '2026-10-25T02:00Z',
    ],
    [
      'an hour and a half that repeats half an hour',
      'hour',
      'Australia/Lord_Howe',
      '2026-04-04T14:30Z',
      '2026-04-04T14:00Z',
      '2026-04-04T15:30Z',
    ],
    [
      'the same hour and a half from its repeated part',
      'hour',
      'Australia/Lord_Howe',
      '2026-04-04T15:10Z',
      '2026-04-04T14:00Z',
      '2026-04-04T15:30Z',
    ],
    [
      'an hour and a half that skips half an hour',
      'hour',
      'Australia/Lord_Howe',
      '2026-10-03T15:45Z',
      '2026-10-03T14:30Z',
      '2026-10-03T16:00Z',
    ],
    ['a day', 'day', 'UTC', '2026-02-02T23:59:59.999Z', '2026-02-02T00:00Z', '2026-02-03T00:00Z'],
    [
      'a day east of UTC',
      'day',
      'Pacific/Kiritimati',
      '2026-02-02T10:00Z',
      '2026-02-02T10:00Z',
      '2026-02-03T10:00Z',
    ],
    [
      'a day west of UTC',
      'day',
      'Pacific/Pago_Pago',
      '2026-02-02T10:59Z',
      '2026-02-01T11:00Z',
      '2026-02-02T11:00Z',
    ],
    [
      'a day of 23 hours',
      'day',
      'Europe/Berlin',
      '2026-03-29T12:00Z',
      '2026-03-28T23:00Z',
      '2026-03-29T22:00Z',
    ],
    [
      'a day of 25 hours',
      'day',
      'Europe/Berlin',
      '2026-10-25T12:00Z',
      '2026-10-24T22:00Z',
      '2026-10-25T23:00Z',
    ],
    [
      'a day without a midnight',
      'day',
      'America/Sao_Paulo',
      '2018-11-04T12:00Z',
      '2018-11-04T03:00Z',
      '2018-11-05T02:00Z',
    ],
    [
      'a day with two midnights',
      'day',
      'America/Havana',
      '2026-11-01T12:00Z',
      '2026-11-01T04:00Z',
      '2026-11-02T05:00Z',
    ],
    [
      'a day whose clock goes back over midnight',
      'day',
      'America/Sao_Paulo',
      '2018-02-18T02:30Z',
      '2018-02-17T02:00Z',
      '2018-02-18T03:00Z',
    ],
    [
      'a day after one that the zone skipped',
      'day',
      'Pacific/Apia',
      '2011-12-30T12:00Z',
      '2011-12-30T10:00Z',
      '2011-12-31T10:00Z',
    ],
    [
      'a month',
      'month',
      'UTC',
      '2026-12-31T23:59:59.999Z',
      '2026-12-01T00:00Z',
      '2027-01-01T00:00Z',
    ],
    ['a February', 'month', 'UTC', '2026-02-10T00:00Z', '2026-02-01T00:00Z', '2026-03-01T00:00Z'],
    [
      'a February of a leap year',
      'month',
      'UTC',
      '2028-02-29T12:00Z',
      '2028-02-01T00:00Z',
      '2028-03-01T00:00Z',
    ],
    [
      'a month with a change to summer time',
      'month',
      'Europe/Berlin',
      '2026-03-31T21:59Z',
      '2026-02-28T23:00Z',
      '2026-03-31T22:00Z',
    ],
    [
      'a month of New York',
      'month',
      'America/New_York',
      '2026-01-01T04:59Z',
      '2025-12-01T05:00Z',
      '2026-01-01T05:00Z',
    ],
    [
      'a week from its Monday on',
      'week',
      'UTC',
      '2026-02-02T00:00Z',
      '2026-02-02T00:00Z',
      '2026-02-09T00:00Z',
    ],
    [
      'a week to the end of its Sunday',
      'week',
      'UTC',
      '2026-02-08T23:59:59.999Z',
      '2026-02-02T00:00Z',
      '2026-02-09T00:00Z',
    ],
    [
      'a week of two years',
      'week',
      'UTC',
      '2027-01-01T00:00Z',
      '2026-12-28T00:00Z',
      '2027-01-04T00:00Z',
    ],
    [
      'the first week of all',
      'week',
      'UTC',
      '1970-01-02T00:00Z',
      '1969-12-29T00:00Z',
      '1970-01-05T00:00Z',
    ],
    [
      'a week of 167 hours',
      'week',
      'Europe/Berlin',
      '2026-03-29T21:59Z',
      '2026-03-22T23:00Z',
      '2026-03-29T22:00Z',
    ],
    [
      'a week without a Friday',
      'week',
      'Pacific/Apia',
      '2011-12-31T00:00Z',
      '2011-12-26T10:00Z',
      '2012-01-01T10:00Z',
    ],
    ['a year', 'year', 'UTC', '2026-12-31T23:59:59.999Z', '2026-01-01T00:00Z', '2027-01-01T00:00Z'],
    ['a leap year', 'year', 'UTC', '2028-02-29T12:00Z', '2028-01-01T00:00Z', '2029-01-01T00:00Z'],
    [
      'a year of New York',
      'year',
      'America/New_York',
      '2026-01-01T04:59Z',
      '2025-01-01T05:00Z',
      '2026-01-01T05:00Z',
    ],
  ] as const)('is %s', (_, period, timeZone, moment, start, end) => {
    expect(windowAround(period, timeZone, moment)).toEqual([start, end])
  })

  test.each([
    ['hour', 'Australia/Lord_Howe', '2026-04-03T00:00Z', 72, 1, 1.5],
    ['hour', 'Australia/Lord_Howe', '2026-10-02T00:00Z', 72, 1, 1.5],
    ['hour', 'Europe/Berlin', '2026-10-24T00:00Z', 72, 1, 1],
    ['day', 'Europe/Berlin', '2026-03-01T00:00Z', 300, 23, 25],
    ['day', 'America/Havana', '2026-03-01T00:00Z', 300, 23, 25],
    ['day', 'Africa/Cairo', '2026-03-01T00:00Z', 300, 23, 25],
    ['week', 'America/Havana', '2026-03-01T00:00Z', 60, 167, 169],
    ['year', 'Europe/Berlin', '2026-03-01T00:00Z', 12, 365 * 24, 366 * 24],
    ['month', 'America/St_Johns', '2026-03-01T00:00Z', 24, 28 * 24 - 1, 31 * 24 + 1],
  ] as const)(
    'of %s in %s follows the last without gap or overlap from %s on',
    (period, timeZone, from, steps, leastHours, mostHours) => {
      const windowAt = createZoneCalendar(period, timeZone)
      let window = windowAt(Date.parse(from))
      for (let step = 0; step < steps; step += 1) {
        const next = windowAt(window.endEpochMs)
        expect(next.startEpochMs).toBe(window.endEpochMs)
        expect(windowAt(next.endEpochMs - 1)).toEqual(next)
        const hours = (next.endEpochMs - next.startEpochMs) / 3_600_000
        expect(hours).toBeGreaterThanOrEqual(leastHours)
        expect(hours).toBeLessThanOrEqual(mostHours)
        window = next
      }
    },
  )

  test('begins a day once when the clock goes back over midnight', () => {
    // Until 2011 Newfoundland changed its clocks at 00:01: 2010-11-07 began, went back to the 6th, and began again.
    for (const moment of ['2010-11-07T02:30:30Z', '2010-11-07T03:00Z', '2010-11-07T03:30Z']) {
      expect(windowAround('day', 'America/St_Johns', moment)).toEqual([
        '2010-11-07T02:30Z',
        '2010-11-08T03:30Z',
      ])
    }
    expect(windowAround('day', 'America/St_Johns', '2010-11-07T02:29Z')[1]).toBe(
      '2010-11-07T02:30Z',
    )
  })

  test.each([
    ['Australia/Sydney', '2026-04-05T00:00Z', '2026-04-04T13:00Z', '2026-04-05T14:00Z'],
    // In 2010 Casey went back three hours at two in the morning: the 5th came twice, the window once.
    ['Antarctica/Casey', '2010-03-04T14:00Z', '2010-03-03T13:00Z', '2010-03-04T16:00Z'],
    ['Antarctica/Casey', '2010-03-04T15:30Z', '2010-03-03T13:00Z', '2010-03-04T16:00Z'],
  ])(
    'finds the day in %s around %s although the clock goes back',
    (timeZone, moment, start, end) => {
      expect(windowAround('day', timeZone, moment)).toEqual([start, end])
    },
  )

  test('needs a time zone that is known', () => {
    expect(() => createZoneCalendar('day', 'Europe/Atlantis')).toThrow(RangeError)
  })
})
