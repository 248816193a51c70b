import { toMicros } from '../money.js'
import { countedGroup, shareKeys } from './keys.js'
import type { PartitionedCaller } from './keys.js'
import type { Quota } from './quota.js'

/** Another limit for some callers: each list that is not empty must hold the caller, at least one is not empty. */
export interface Override {
  readonly tenants: readonly string[]
  readonly groups: readonly string[]
  /** As that of a quota. */
  readonly limit: number
}

/** A claim of the credential that carries the limit. */
export interface LimitClaim {
  readonly claim: string
  /** More than this is this. */
  readonly atMost: number
}

/** A quota as the policy has it: the limit is another one for some callers. The ledgers know one limit each time. */
export interface PolicyQuota extends Quota {
  /** The first that holds the caller counts. */
  readonly overrides?: readonly Override[] | undefined
  /** Counts before the overrides where the credential has it. */
  readonly limitClaim?: LimitClaim | undefined
}

/** Quotas that differ in their limit alone, kept for each that the policy has. Claims can carry many. */
const MAX_KEPT_LIMITS = 1024

/**
 * The quota with the limit of this caller, and without what that followed from. The same limit gives the same quota,
 * and another limit the same partitions: what was spent stays spent.
 */
export function quotaFor(quota: PolicyQuota, caller: PartitionedCaller): Quota {
  const { overrides, limitClaim } = quota
  if (overrides === undefined && limitClaim === undefined) return quota
  const carried = limitClaim && caller.claims.get(limitClaim.claim)
  if (limitClaim !== undefined && typeof carried === 'number') {
    // What is no limit was refused with its credential; whatever else came here is the least.
    const limit = (quota.unit === 'cost' ? toMicros(carried) : carried) ?? 1
    return withLimit(quota, Math.min(limit, limitClaim.atMost), true)
  }
  const override = membersOf(quota).find((members) => holds(members, quota, caller))
  return withLimit(quota, override?.limit ?? quota.limit, false)
}

interface Members {
  readonly tenants: ReadonlySet<string>
  readonly groups: ReadonlySet<string>
  readonly limit: number
}

/** A policy is never changed, so its lists are made to sets once. */
const members = new WeakMap<Quota, readonly Members[]>()

function membersOf(quota: PolicyQuota): readonly Members[] {
  let found = members.get(quota)
  if (found === undefined) {
    found = (quota.overrides ?? []).map(({ tenants, groups, limit }) => ({
      tenants: new Set(tenants),
      groups: new Set(groups),
      limit,
    }))
    members.set(quota, found)
  }
  return found
}

/** A caller who counts in the partition of one of its groups has the limit of that group: all who share it do. */
function holds({ tenants, groups }: Members, quota: Quota, caller: PartitionedCaller): boolean {
  if (tenants.size > 0 && !tenants.has(caller.tenant)) return false
  if (groups.size === 0) return true
  if (!quota.by.includes('group')) return caller.groups.some((group) => groups.has(group))
  const counted = countedGroup(quota, caller)
  return counted !== undefined && groups.has(counted)
}

const derived = new WeakMap<Quota, Map<string, Quota>>()

function withLimit(quota: PolicyQuota, limit: number, carried: boolean): Quota {
  const kept = derived.get(quota) ?? new Map<string, Quota>()
  derived.set(quota, kept)
  const name = `${String(limit)} ${String(carried)}`
  let found = kept.get(name)
  if (found === undefined) {
    // The lists would go into the store with every reservation.
    const own: PolicyQuota = { ...quota, limit, overrides: undefined, limitClaim: undefined }
    found = carried ? { ...own, limitCarried: true } : own
    shareKeys(found, quota)
    if (kept.size >= MAX_KEPT_LIMITS) kept.clear()
    kept.set(name, found)
  }
  return found
}
