import type { GuardedHeld, StoreFailure } from './guarded-ledger.js'
import type { Held, Hold, ReserveRequest } from '../ledger.js'
import { answerOf, mayPass } from '../quota.js'
import type { Quota } from '../quota.js'
import type { Shares } from './shares.js'

/** What becomes of holds without their store. */
export interface Plan {
  readonly local: readonly Hold[]
  readonly uncounted: readonly Hold[]
  readonly shadowShort: readonly Quota[]
}

interface Refusing {
  readonly refusing: Quota
  readonly why: StoreFailure
}

/** Asks each quota what it says, and where that is its share, for that. */
export function planFor(
  { holds, leaseMs }: Pick<ReserveRequest<unknown>, 'holds' | 'leaseMs'>,
  shares: Pick<Shares, 'of'>,
  nowEpochMs: number,
): Plan | Refusing {
  const [inShare, uncounted, shadowShort]: [Hold[], Hold[], Quota[]] = [[], [], []]
  for (const hold of holds) {
    const { quota } = hold
    const answer = answerOf(quota)
    const share = answer === 'local' ? shares.of(quota, leaseMs, nowEpochMs) : undefined
    if (share !== undefined) inShare.push({ ...hold, quota: share })
    else if (mayPass(quota)) uncounted.push(hold)
    else return { refusing: quota, why: answer === 'local' ? 'share' : 'store' }
    if (share === undefined && answer !== 'allow') shadowShort.push(quota)
  }
  return { local: inShare, uncounted, shadowShort }
}

/** Holds of shares that are not there, or too small though nothing be held: without their store they refuse the request. */
export function beyondShares(
  { holds, leaseMs }: Pick<ReserveRequest<unknown>, 'holds' | 'leaseMs'>,
  shares: Pick<Shares, 'of'>,
  nowEpochMs: number,
): readonly Hold[] {
  return holds.filter(({ quota, amount }) => {
    if (quota.shadow || answerOf(quota) !== 'local') return false
    const share = shares.of(quota, leaseMs, nowEpochMs)
    return share === undefined || share.limit < amount
  })
}

/** What is held as the plan has it. */
export function heldWithout<Context>(
  held: Held<Context>,
  { shadowShort }: Plan,
  inShare: readonly Hold[],
  uncounted: readonly Hold[],
  fault: string,
): GuardedHeld<Context> {
  return {
    ...held,
    shadowShort: [...held.shadowShort, ...shadowShort],
    fallback: {
      why: 'store',
      fault,
      localQuotas: namesOf(inShare),
      uncountedQuotas: namesOf(uncounted),
    },
  }
}

export function namesOf(holds: readonly Hold[]): readonly string[] {
  return holds.map(({ quota }) => quota.name)
}
