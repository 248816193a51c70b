import type { Balance } from '../quota/ledger.js'
import { isTold } from '../quota/quota.js'
import type { QuotaUnitName } from '../quota/quota.js'
import { formatAmount } from '../quota/units.js'
import { HOUR_MS, MINUTE_MS, SECOND_MS } from '../units.js'
import { setHeader } from './header-option.js'
import type { HeaderValueOption } from './wire.js'

/** OpenAI's clients know tokens and requests; the others are spelled alike. Parallel requests have none. */
const headerUnits = [
  'tokens',
  'input_tokens',
  'output_tokens',
  'requests',
  'cost',
] as const satisfies readonly QuotaUnitName[]

/**
 * Where the caller stands, in the headers that OpenAI's clients read: per unit, the quota that has least left, since
 * that one refuses first.
 */
export function rateLimitHeaders(balances: readonly Balance[]): readonly HeaderValueOption[] {
  return headerUnits.flatMap((unit) => {
    const tightest = tightestOf(balances, unit)
    if (tightest === undefined) return []
    const name = unit.replaceAll('_', '-')
    const remaining = Math.max(0, tightest.remaining)
    return [
      setHeader(`x-ratelimit-limit-${name}`, formatAmount(unit, tightest.quota.limit)),
      setHeader(`x-ratelimit-remaining-${name}`, formatAmount(unit, remaining)),
      setHeader(`x-ratelimit-reset-${name}`, formatDuration(tightest.resetMs)),
    ]
  })
}

function tightestOf(balances: readonly Balance[], unit: QuotaUnitName): Balance | undefined {
  let tightest: Balance | undefined
  for (const balance of balances) {
    if (!isTold(balance.quota) || balance.quota.unit !== unit) continue
    if (tightest === undefined || balance.remaining < tightest.remaining) tightest = balance
  }
  return tightest
}

/** As OpenAI writes it: `120ms`, `1s`, `6m0s`, `23h59m1s`. Rounded up: coming back then is never too early. */
export function formatDuration(durationMs: number): string {
  const wholeMs = Math.max(0, Math.ceil(durationMs))
  if (wholeMs < SECOND_MS) return `${String(wholeMs)}ms`
  const roundedMs = Math.ceil(wholeMs / SECOND_MS) * SECOND_MS
  const hours = Math.floor(roundedMs / HOUR_MS)
  const minutes = Math.floor((roundedMs % HOUR_MS) / MINUTE_MS)
  const seconds = (roundedMs % MINUTE_MS) / SECOND_MS
  const hourPart = hours === 0 ? '' : `${String(hours)}h`
  const minutePart = hours === 0 && minutes === 0 ? '' : `${String(minutes)}m`
  return `${hourPart}${minutePart}${String(seconds)}s`
}
