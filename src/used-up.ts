import type { Denial } from './denial.js'
import type { Unavailable } from './quota/failover/guarded-ledger.js'
import type { Short } from './quota/ledger.js'
import type { Estimate } from './quota/units.js'
import { shortageDenial, unavailableDenial } from './shortage.js'

export interface UsedUpAsked {
  /** The ledger's `exhausted`, for what the request holds of each quota by this estimate. */
  readonly look: (
    estimate: Estimate,
    nowEpochMs: number,
  ) => Promise<Short | Unavailable | undefined>
  readonly nowEpochMs: () => number
  /** What the request can come to before its text is counted. */
  readonly bounds: { readonly least: Estimate; readonly most: Estimate }
  /** Counts its text. */
  readonly count: () => Promise<Estimate>
}

/**
 * The refusal of a request while one of its quotas has nothing left; undefined where none is known to.
 *
 * It tells when all of the request fits, as a reserve that is short does. The wait never falls with the amount, so where
 * the least and the most that the request can hold wait alike, as for a calendar window or a place in flight, that is
 * the wait, and nothing is counted.
 */
export async function refuseUsedUp({
  look,
  nowEpochMs,
  bounds,
  count,
}: UsedUpAsked): Promise<Denial | undefined> {
  // Of two moments the waits would differ, whatever it holds.
  const nowMs = nowEpochMs()
  const least = await look(bounds.least, nowMs)
  if (least === undefined) return undefined
  if (least.kind === 'unavailable') return unavailableDenial(least)
  const most = await look(bounds.most, nowMs)
  if (most?.kind === 'short' && waitAlike(least, most)) return shortageDenial(least, undefined)
  const estimate = await count()
  const exact = await look(estimate, nowEpochMs())
  // There may be room by now.
  if (exact === undefined) return undefined
  return exact.kind === 'unavailable' ? unavailableDenial(exact) : shortageDenial(exact, estimate)
}

function waitAlike(one: Short, other: Short): boolean {
  return one.quota.name === other.quota.name && one.retryAfterMs === other.retryAfterMs
}
