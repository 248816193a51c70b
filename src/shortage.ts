import { deny } from './denial.js'
import type { Denial } from './denial.js'
import type { StoreFailure, Unavailable } from './quota/failover/guarded-ledger.js'
import type { Balance, Short } from './quota/ledger.js'
import { isTold } from './quota/quota.js'
import type { Quota } from './quota/quota.js'
import { formatAmount } from './quota/units.js'
import type { Estimate } from './quota/units.js'
import { SECOND_MS, ceilSeconds } from './units.js'

/** More would make the body of the refusal longer than an answer may be. */
const MAX_TOLD_LEVELS = 16

/**
 * A request that does not fit, as a refusal that says what is short, what is left at each level of the caller's
 * tenant, and when to come back.
 *
 * @param estimate what the request would have held; undefined where that was not counted, since it waits as long
 *   whatever it is
 */
export function shortageDenial(short: Short, estimate: Estimate | undefined): Denial {
  const { quota, retryAfterMs } = short
  const limit = describeLimit(quota)
  // A limit that came in a claim goes to its caller and into no record.
  const recorded = quota.limitCarried === true ? 'by claim' : limit
  const extras = { quota: quota.name, detail: `quota ${quota.name}, limit ${recorded}` }
  const what =
    estimate === undefined
      ? ''
      : ` It would hold ${String(estimate.inputTokens)} input and ${String(estimate.outputTokens)} output tokens.`
  const left = describeLeft(short.balances)
  if (retryAfterMs === undefined) {
    return deny(
      'request_exceeds_quota',
      `This request is larger than the quota "${quota.name}" (${limit}) can ever hold.${what}${left} Send less text, or lower the output cap.`,
      extras,
    )
  }
  return deny(
    'quota_exhausted',
    `The quota "${quota.name}" (${limit}) has no room for this request.${what}${left} Try again in ${String(ceilSeconds(retryAfterMs))} s.`,
    { ...extras, retryAfterMs },
  )
}

function describeLimit({ unit, limit }: Quota): string {
  return `${formatAmount(unit, limit)} ${unit.replace('_', ' ')}`
}

function describeLeft(balances: readonly Balance[]): string {
  const levels = balances
    .filter(({ quota }) => isTold(quota))
    .map(
      ({ quota, remaining }) =>
        `${quota.name} ${formatAmount(quota.unit, remaining)} of ${describeLimit(quota)}`,
    )
  if (levels.length === 0) return ''
  const rest = levels.length - MAX_TOLD_LEVELS
  const more = rest > 0 ? ` and ${String(rest)} more quotas` : ''
  return ` Left: ${levels.slice(0, MAX_TOLD_LEVELS).join(', ')}${more}.`
}

/** Between two attempts to connect to a store that is away lie 2 s at most. */
const STORE_RETRY_MS = 2 * SECOND_MS

const whatFailed: Record<StoreFailure, string> = {
  store: 'its store did not answer',
  share: "its store did not answer, and this process's share has no room, or there is none yet",
  full: 'this process has no room for another balance',
}

/** A quota that could not be asked and says no then. Not a 429: nothing is known to be used up. */
export function unavailableDenial({ quota, why, fault }: Unavailable): Denial {
  return deny(
    'quota_store_unavailable',
    `The quota "${quota.name}" cannot be checked at the moment. Try again in ${String(ceilSeconds(STORE_RETRY_MS))} s.`,
    {
      quota: quota.name,
      detail: `quota ${quota.name}: ${whatFailed[why]} (${fault})`,
      retryAfterMs: STORE_RETRY_MS,
      storeFailure: why,
    },
  )
}
