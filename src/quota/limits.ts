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

/** Which overrides a name stands in, so that a caller costs a look for each of its groups, however many overrides. */
interface Index {
  /** The first override of this tenant alone, or of this group alone. */
  readonly byTenant: ReadonlyMap<string, number>
  readonly byGroup: ReadonlyMap<string, number>
  /** Overrides of this tenant and of groups, in their order. */
  readonly both: ReadonlyMap<
    string,
    readonly (readonly [at: number, groups: ReadonlySet<string>])[]
  >
}

/** A policy is never changed, so this is made once: some 3 ms for 10,000 names (measured), and the rules bound their number. */
const indexes = new WeakMap<Quota, Index>()

function indexOf(quota: PolicyQuota): Index {
  const made = indexes.get(quota)
  if (made !== undefined) return made
  const byTenant = new Map<string, number>()
  const byGroup = new Map<string, number>()
  const both = new Map<string, (readonly [number, ReadonlySet<string>])[]>()
  for (const [at, { tenants, groups }] of (quota.overrides ?? []).entries()) {
    const members = new Set(groups)
    if (tenants.length === 0) {
      for (const group of members) if (!byGroup.has(group)) byGroup.set(group, at)
    }
    for (const tenant of tenants) {
      if (members.size === 0) {
        if (!byTenant.has(tenant)) byTenant.set(tenant, at)
      } else {
        const entries = both.get(tenant) ?? []
        entries.push([at, members])
        both.set(tenant, entries)
      }
    }
  }
  const index = { byTenant, byGroup, both }
  indexes.set(quota, index)
  return index
}

/** Undefined where none holds the caller. */
function firstOverride(quota: PolicyQuota, caller: PartitionedCaller): Override | undefined {
  const { byTenant, byGroup, both } = indexOf(quota)
  const groups = groupsThatCount(quota, caller)
  let first = byTenant.get(caller.tenant) ?? Infinity
  for (const group of groups) first = Math.min(first, byGroup.get(group) ?? Infinity)
  const joint = both
    .get(caller.tenant)
    ?.find(([at, members]) => at > first || groups.some((group) => members.has(group)))
  return quota.overrides?.[Math.min(first, joint?.[0] ?? Infinity)]
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
