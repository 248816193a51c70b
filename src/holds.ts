import type { Principal } from './identity/principal.js'
import type { Model } from './llm/model.js'
import { bindsModel } from './policy.js'
import type { Policy } from './policy.js'
import { partitionKey } from './quota/keys.js'
import type { PartitionedCaller } from './quota/keys.js'
import type { Hold } from './quota/ledger.js'
import { quotaFor } from './quota/limits.js'
import { amountToReserve } from './quota/units.js'
import type { Estimate } from './quota/units.js'
import type { IncomingRequest } from './request.js'
import { spiffeIdOf } from './spiffe.js'

/** What quotas may count a request by. */
export function partitionedCaller(
  principal: Principal,
  model: Model,
  { path, peer }: Pick<IncomingRequest, 'path' | 'peer'>,
): PartitionedCaller {
  const { tenant, subject, client, apiKey, groups, claims = noClaims } = principal
  const { name, pool } = model
  return {
    tenant,
    subject,
    client,
    apiKey,
    groups,
    model: name,
    pool,
    route: path,
    spiffe: spiffeIdOf(peer),
    claims,
  }
}

const noClaims: PartitionedCaller['claims'] = new Map()

/** What the request holds against every quota that binds it. */
export function holdsFor(
  policy: Policy,
  principal: Principal,
  model: Model,
  estimate: Estimate,
  request: Pick<IncomingRequest, 'path' | 'peer'>,
): readonly Hold[] {
  const caller = partitionedCaller(principal, model, request)
  return policy.quotas
    .filter((quota) => bindsModel(quota, model.name))
    .map((quota) => ({
      quota: quotaFor(quota, caller),
      partitionKey: partitionKey(quota, caller),
      amount: amountToReserve(quota.unit, { ...estimate, prices: model.prices }),
    }))
}
