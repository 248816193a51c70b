import { MINUTE_MS } from '../units.js'

const dateTime =
  /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,3}))?(?:Z|([+-])([01]\d|2[0-3]):([0-5]\d))$/

/**
 * A moment as RFC 3339 writes it, which always says its zone: `2027-01-31T00:00:00Z`, `2027-01-31T09:00:00+09:00`.
 * Without leap seconds: no epoch time is theirs.
 *
 * @returns undefined for anything else, and for a day or time that does not exist
 */
export function parseDateTime(text: string): number | undefined {
  const match = dateTime.exec(text)
  if (match === null) return undefined
  const [, local = '', fraction = '', sign, hours = '0', minutes = '0'] = match
  const localMs = Date.parse(`${local}Z`)
  // The runtime takes the 30th of February for a day of March, and 24:00 for the next day.
  if (Number.isNaN(localMs) || !new Date(localMs).toISOString().startsWith(local)) return undefined
  const zoneMs = (Number(hours) * 60 + Number(minutes)) * MINUTE_MS
  return localMs + Number(fraction.padEnd(3, '0')) - (sign === '-' ? -zoneMs : zoneMs)
}
