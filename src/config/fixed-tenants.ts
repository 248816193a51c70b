import type { KeyPath, SayFault } from './faults.js'
import { soundItems, wrong } from './partly.js'
import type { Wrong } from './partly.js'
import type { FileContent } from './schema.js'

/** More names than these help nobody to find the right one. */
const maxNames = 20

/**
 * Whoever could come, where every issuer has a tenant of its own, with those of API keys; undefined where a claim or a
 * fault leaves it open.
 */
export function fixedTenants({ issuers, apiKeys }: FileContent): readonly string[] | undefined {
  if (issuers === wrong || apiKeys === wrong) return undefined
  const tenants = issuers.flatMap(({ tenant: { claim, fixed } }) =>
    claim === undefined && fixed !== undefined && fixed !== wrong ? [fixed] : [],
  )
  const ofKeys = apiKeys.flatMap(({ tenant }) => (tenant === wrong ? [] : [tenant]))
  return tenants.length === issuers.length && ofKeys.length === apiKeys.length
    ? [...new Set([...tenants, ...ofKeys])]
    : undefined
}

/** A tenant that nobody can have is a typing error, most likely. */
export function checkTenants(
  named: readonly (string | Wrong)[] | Wrong,
  tenants: readonly string[] | undefined,
  at: KeyPath,
  fault: SayFault,
): void {
  if (tenants === undefined) return
  for (const { index, item } of soundItems(named)) {
    if (tenants.includes(item)) continue
    fault(
      [...at, index],
      `a tenant that an issuer or API key of this file has: ${tenants.slice(0, maxNames).join(', ')}`,
    )
  }
}
