import { calendarPeriods } from '../quota/quota.js'
import { DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS } from '../units.js'
import { parseDuration } from './duration.js'
import { scalar } from './values.js'

/** As envoyproxy/ratelimit has them: counted since 1970, so no zone and no calendar is asked. */
const fixedMs = {
  second: SECOND_MS,
  minute: MINUTE_MS,
  hour: HOUR_MS,
  day: DAY_MS,
  week: 7 * DAY_MS,
  month: 30 * DAY_MS,
  year: 365 * DAY_MS,
} as const

const periods = calendarPeriods.join(', ')
const expected =
  `a duration from 1s to 31d, as 30s, 1m, 24h or 7d (sliding), or one of ${periods} (calendar), ` +
  `or fixed and one of ${Object.keys(fixedMs).join(', ')}`

/** Over what time a quota counts; a calendar window gets its time zone from the key beside it. */
export function quotaWindow() {
  return scalar(expected, (value) => {
    if (typeof value !== 'string') return undefined
    const period = calendarPeriods.find((candidate) => candidate === value)
    if (period !== undefined) return { kind: 'calendar' as const, period }
    const [, word] = /^fixed ([a-z]+)$/.exec(value) ?? []
    if (word !== undefined) {
      if (!Object.hasOwn(fixedMs, word)) return undefined
      return { kind: 'fixed' as const, lengthMs: fixedMs[word as keyof typeof fixedMs] }
    }
    const lengthMs = parseDuration(value)
    return lengthMs !== undefined && lengthMs <= 31 * DAY_MS
      ? { kind: 'sliding' as const, lengthMs }
      : undefined
  })
}
