const time = String.raw`(\d\d?):(\d\d?):(\d\d?)(?:[.,]\d+)?`
const timestamp = new RegExp(
  String.raw`^(\d{4})-(\d\d?)-(\d\d?)(?: ${time}|[Tt]${time}(?:Z|[-+](\d\d):(\d\d)))?$`,
)

/** What Go's yaml.v2 takes for `!!timestamp`: without a zone after a space, with one after `T`. */
export function isTimestamp(text: string): boolean {
  const match = timestamp.exec(text)
  if (match === null) return false
  const [year = 0, month = 0, day = 0, ...rest] = match.slice(1).map((part) => Number(part || '0'))
  // 400 years later the calendar is the same, and no year is one of 1900 to the runtime.
  const daysOfMonth = new Date(Date.UTC(year + 400, month, 0)).getUTCDate()
  if (month < 1 || month > 12 || day < 1 || day > daysOfMonth) return false
  // Go lets a zone be 24 hours and 60 minutes away.
  const most = [23, 59, 59, 23, 59, 59, 24, 60]
  return rest.every((part, index) => part <= (most[index] ?? 0))
}
