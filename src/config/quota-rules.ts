import { matchesPattern } from '../policy.js'
import { toMicros } from '../money.js'
import type { KeyPath, SayFault } from './faults.js'
import { checkTenants, fixedTenants } from './fixed-tenants.js'
import { namedModels } from './model-patterns.js'
import { given, soundItems, wrong } from './partly.js'
import type { Wrong } from './partly.js'
import type { FileContent } from './schema.js'
import type { PartlyEntry } from './schema-entries.js'

// Rules of one quota that join several keys; `rules.ts` has those of windows and dimensions.

type Quota = PartlyEntry<'quotas'>

/** Every limit that the quota names, and whether a caller's partition can have one of its own. */
export function checkLimits(
  quota: Quota,
  content: FileContent,
  at: KeyPath,
  fault: SayFault,
): void {
  checkLimit(quota, quota.limit, [...at, 'limit'], fault)
  const tenants = fixedTenants(content)
  for (const { index, item } of soundItems(quota.overrides)) {
    const place = [...at, 'overrides', index]
    checkLimit(quota, item.limit, [...place, 'limit'], fault)
    checkMembers(quota, item, place, fault)
    checkTenants(item.tenants, tenants, [...place, 'tenants'], fault)
  }
  const { limitClaim } = quota
  if (limitClaim === undefined || limitClaim === wrong) return
  checkLimit(quota, limitClaim.atMost, [...at, 'limitClaim', 'atMost'], fault)
  given([quota.by], (by) => {
    const ofCaller = ['tenant', 'subject', 'client', wrong] as const
    if (ofCaller.some((dimension) => by.includes(dimension))) return
    fault(
      [...at, 'limitClaim'],
      'to be left out, or tenant, subject or client in by: one caller would set the limit of others',
    )
  })
}

/** One look at each when a policy comes into force: some 3 ms for 10,000 (measured). */
const maxOverrideNames = 20_000

/** A limit for each of many tenants is what a claim is for. */
export function checkOverrideNames({ quotas }: FileContent, fault: SayFault): void {
  const lists = soundItems(quotas).flatMap(({ item }) =>
    soundItems(item.overrides).map(({ item: { tenants, groups } }) => [
      ...soundItems(tenants),
      ...soundItems(groups),
    ]),
  )
  const names = lists.reduce((sum, list) => sum + list.length, 0)
  if (names <= maxOverrideNames) return
  fault(
    ['quotas'],
    `at most ${String(maxOverrideNames)} tenants and groups in all overrides together, not ${String(names)}; a claim can carry the limit (limitClaim)`,
  )
}

/** Money has decimals, what is counted has none. */
function checkLimit(quota: Quota, limit: Quota['limit'], at: KeyPath, fault: SayFault): void {
  given([quota.unit, limit], (unit, amount) => {
    if (unit === 'cost') {
      if (toMicros(amount) !== undefined) return
      fault(at, 'at most 999999999.999999, with at most 6 decimals, of unit cost')
    } else if (!Number.isInteger(amount)) {
      fault(at, `a whole number, since the unit is ${unit}`)
    }
  })
}

type Override = Exclude<Exclude<Quota['overrides'], Wrong>[number], Wrong>

/** All who share a partition have to share its limit. */
function checkMembers(quota: Quota, override: Override, at: KeyPath, fault: SayFault): void {
  given([override.tenants, override.groups], (tenants, groups) => {
    if (tenants.length + groups.length === 0) fault(at, 'tenants, groups or both: whom it is for')
  })
  given([override.tenants, quota.by], (tenants, by) => {
    if (tenants.length === 0 || by.includes('tenant') || by.includes(wrong)) return
    fault([...at, 'tenants'], 'to be left out, or tenant in by: all in a partition have one limit')
  })
  given([override.groups, quota.by, quota.groups], (groups, by, counted) => {
    if (groups.length === 0 || by.includes(wrong)) return
    if (!by.includes('group')) {
      if (by.includes('subject')) return
      const message = 'to be left out, or group or subject in by: all in a partition have one limit'
      fault([...at, 'groups'], message)
    } else if (!counted.includes(wrong)) {
      for (const { index, item } of soundItems(groups)) {
        if (counted.includes(item)) continue
        fault(
          [...at, 'groups', index],
          'a group that groups of this quota lists, since by holds group',
        )
      }
    }
  })
}

/** What has no price cannot be counted by it. */
export function checkPrices(
  quota: Quota,
  content: FileContent,
  at: KeyPath,
  fault: SayFault,
): void {
  given([quota.unit, quota.models], (unit, patterns) => {
    if (unit !== 'cost' || patterns.includes(wrong)) return
    const unpriced = namedModels(content)
      .filter(
        ({ name, model }) =>
          model.prices === undefined &&
          (patterns.length === 0 ||
            patterns.some((pattern) => pattern !== wrong && matchesPattern(pattern, name))),
      )
      .map(({ name }) => name)
    if (unpriced.length === 0) return
    const rest = unpriced.length > 3 ? ` and ${String(unpriced.length - 3)} more` : ''
    fault(
      [...at, 'unit'],
      `prices for every model that it binds: ${unpriced.slice(0, 3).join(', ')}${rest} has none, or another unit`,
    )
  })
}
