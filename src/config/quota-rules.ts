import { matchesPattern } from '../policy.js'
import { toMicros } from '../money.js'
import type { KeyPath, SayFault } from './faults.js'
import { namedModels } from './model-patterns.js'
import { given, wrong } from './partly.js'
import type { FileContent } from './schema.js'
import type { PartlyEntry } from './schema-entries.js'

// Rules of one quota that join several keys; `rules.ts` has those of windows and dimensions.

type Quota = PartlyEntry<'quotas'>

/** Money has decimals, what is counted has none. */
export function checkLimit(quota: Quota, at: KeyPath, fault: SayFault): void {
  given([quota.unit, quota.limit], (unit, limit) => {
    if (unit === 'cost') {
      if (toMicros(limit) !== undefined) return
      fault([...at, 'limit'], 'at most 999999999.999999, with at most 6 decimals, of unit cost')
    } else if (!Number.isInteger(limit)) {
      fault([...at, 'limit'], `a whole number, since the unit is ${unit}`)
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
