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
  return withLimit(quota, firstOverride(quota, caller)?.limit ?? quota.limit, false)
}

/**
 * Which overrides a name stands in, so that a caller costs a look for each of its groups and for each override that
 * names one of them with a tenant: at most as many as the policy has names, however many of its overrides are the tenant's.
 */
interface Index {
  /** The first override of this tenant alone, or of this group alone. */
  readonly byTenant: ReadonlyMap<string, number>
  readonly byGroup: ReadonlyMap<string, number>
  /** Of those with both lists: all that name the tenant, and in their order all that name the group. */
  readonly ofTenant: ReadonlyMap<string, ReadonlySet<number>>
  readonly ofGroup: ReadonlyMap<string, readonly number[]>
}

/** A policy is never changed, so this is made once: some 3 ms for 10,000 names (measured), and the rules bound their number. */
const indexes = new WeakMap<Quota, Index>()

function indexOf(quota: PolicyQuota): Index {
  const made = indexes.get(quota)
  if (made !== undefined) return made
  const byTenant = new Map<string, number>()
  const byGroup = new Map<string, number>()
  const ofTenant = new Map<string, Set<number>>()
  const ofGroup = new Map<string, number[]>()
  for (const [at, { tenants, groups }] of (quota.overrides ?? []).entries()) {
    if (tenants.length === 0) putFirst(byGroup, groups, at)
    if (groups.length === 0) putFirst(byTenant, tenants, at)
    if (tenants.length === 0 || groups.length === 0) continue
    for (const tenant of tenants) ofTenant.set(tenant, (ofTenant.get(tenant) ?? new Set()).add(at))
    for (const group of groups) {
      const named = ofGroup.get(group) ?? []
      named.push(at)
      ofGroup.set(group, named)
    }
  }
  const index = { byTenant, byGroup, ofTenant, ofGroup }
  indexes.set(quota, index)
  return index
}

function putFirst(into: Map<string, number>, names: readonly string[], at: number): void {
  for (const name of names) if (!into.has(name)) into.set(name, at)
}

/** Undefined where none holds the caller. */
function firstOverride(quota: PolicyQuota, caller: PartitionedCaller): Override | undefined {
  const { byTenant, byGroup, ofTenant, ofGroup } = indexOf(quota)
  const joint = ofTenant.get(caller.tenant)
  let first = byTenant.get(caller.tenant) ?? Infinity
  for (const group of groupsThatCount(quota, caller)) {
    first = Math.min(first, byGroup.get(group) ?? Infinity)
    const named = joint && ofGroup.get(group)?.find((at) => at >= first || joint.has(at))
    first = Math.min(first, named ?? Infinity)
  }
  return quota.overrides?.[first]
}

/** A caller who counts in the partition of one of its groups has the limit of that group: all who share it do. */
function groupsThatCount(quota: Quota, caller: PartitionedCaller): readonly string[] {
  if (!quota.by.includes('group')) return caller.groups
  const counted = countedGroup(quota, caller)
  return counted === undefined ? [] : [counted]
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
