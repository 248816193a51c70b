import { DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS } from '../units.js'

const unitMs = { s: SECOND_MS, m: MINUTE_MS, h: HOUR_MS, d: DAY_MS } as const

/** Milliseconds of a duration as the policy writes it, as `30s`, `1m`, `24h` or `7d`; undefined for anything else. */
export function parseDuration(text: string): number | undefined {
  const match = /^([1-9][0-9]{0,8})([smhd])$/.exec(text)
  if (match?.[1] === undefined || match[2] === undefined) return undefined
  return Number(match[1]) * unitMs[match[2] as keyof typeof unitMs]
}

/** Does this runtime's time zone database know the IANA name? */
export function isTimeZone(name: string): boolean {
  // Intl also takes offsets as "+02:00" in newer versions of Node: they are no zone with rules of its own.
  if (!/^[A-Za-z]/.test(name)) return false
  try {
    new Intl.DateTimeFormat('en', { timeZone: name })
    return true
  } catch {
    return false
  }
}
