import { deny } from './denial.js'
import type { Denial } from './denial.js'
import type { Short } from './quota/ledger.js'
import { formatAmount } from './quota/units.js'
import type { Estimate } from './quota/units.js'
import { ceilSeconds } from './units.js'

/**
 * A request that does not fit, as a refusal that says what is short and when to come back.
 *
 * @param estimate what the request would have held; undefined when it was refused before it was counted
 */
export function shortageDenial(short: Short, estimate: Estimate | undefined): Denial {
  const { quota } = short
  const limit = `${formatAmount(quota.unit, quota.limit)} ${quota.unit.replace('_', ' ')}`
  // A limit that came in a claim goes to its caller and into no record.
  const told = quota.limitCarried === true ? 'by claim' : limit
  const extras = { quota: quota.name, detail: `quota ${quota.name}, limit ${told}` }
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
