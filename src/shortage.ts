import { deny } from './denial.js'
import type { Denial } from './denial.js'
import type { StoreFailure, Unavailable } from './quota/guarded-ledger.js'
import type { Short } from './quota/ledger.js'
import { formatAmount } from './quota/units.js'
import type { Estimate } from './quota/units.js'
import { SECOND_MS, ceilSeconds } from './units.js'

/**
 * A request that does not fit, as a refusal that says what is short and when to come back.
 *
 * @param estimate what the request would have held; undefined when it was refused before it was counted
 */
export function shortageDenial(short: Short, estimate: Estimate | undefined): Denial {
  const { quota } = short
  const limit = `${formatAmount(quota.unit, quota.limit)} ${quota.unit.replace('_', ' ')}`
  const extras = { quota: quota.name, detail: `quota ${quota.name}, limit ${limit}` }
  if (short.retryAfterMs === undefined) {
    const asked =
      estimate === undefined
        ? ''
        : ` It would hold ${String(estimate.inputTokens)} input and ${String(estimate.outputTokens)} output tokens.`
    return deny(
      'request_exceeds_quota',
      `This request is larger than the quota "${quota.name}" (${limit}) can ever hold.${asked} Send less text, or lower the output cap.`,
      extras,
    )
  }
  return deny(
    'quota_exhausted',
    `The quota "${quota.name}" (${limit}) has no room for this request. Try again in ${String(ceilSeconds(short.retryAfterMs))} s.`,
    { ...extras, retryAfterMs: short.retryAfterMs },
  )
}

/** Between two attempts to connect to a store that is away lie 2 s at most. */
const STORE_RETRY_MS = 2 * SECOND_MS

const whatFailed: Record<StoreFailure, string> = {
  store: 'its store did not answer',
  share: "its store did not answer, and this process's share has no room",
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
