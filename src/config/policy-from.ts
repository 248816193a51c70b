import type { ApiKey } from '../identity/api-keys.js'
import type { Issuer, NamedClaim } from '../identity/issuer.js'
import type { InspectionRules } from '../inspection/rules.js'
import type { Model } from '../llm/model.js'
import type { Grant, Policy } from '../policy.js'
import { toMicros } from '../money.js'
import type { Prices } from '../prices.js'
import type { PolicyQuota } from '../quota/limits.js'
import { claimOf } from '../quota/quota.js'
import type { Quota, QuotaUnitName, Window } from '../quota/quota.js'
import { leaseMarginMs } from './schema.js'
import type { Entry } from './schema-entries.js'
import type { Sections, SoundContent } from './schema.js'
import { resolveFile } from './settings.js'

/** The policy of a file in which no fault was found. */
export function policyFrom(file: string, generation: string, content: SoundContent): Policy {
  const claims = claimsNamedBy(content)
  return {
    generation,
    issuers: content.issuers.map((entry) => issuerFrom(file, entry, claims)),
    apiKeys: content.apiKeys.map(apiKeyFrom),
    models: content.models.map(modelFrom),
    paths: content.paths,
    grants: content.grants.map(grantFrom),
    quotas: content.quotas.map(quotaFrom),
    inspection: inspectionFrom(content.inspection),
    maxBodyBytes: content.limits.maxBodyBytes,
    leaseMs: content.leaseMs ?? content.maxStreamMs + leaseMarginMs,
    maxStreamMs: content.maxStreamMs,
    keepCredential: content.keepCredential,
  }
}

/** The claims that quotas need, in one order: issuers of equal policies are equal. */
function claimsNamedBy({ quotas }: SoundContent): readonly NamedClaim[] {
  const named = new Map<string, NamedClaim>()
  const add = (name: string, as: NamedClaim['as']): void => {
    named.set(`${name} ${as}`, { name, as })
  }
  for (const { by, limitClaim, unit } of quotas) {
    for (const dimension of by) {
      const claim = claimOf(dimension)
      if (claim !== undefined) add(claim, 'value')
    }
    if (limitClaim !== undefined) add(limitClaim.claim, unit === 'cost' ? 'money' : 'count')
  }
  return [...named].sort(([one], [other]) => (one < other ? -1 : 1)).map(([, claim]) => claim)
}

function issuerFrom(file: string, entry: Entry<'issuers'>, claims: readonly NamedClaim[]): Issuer {
  return {
    issuer: entry.issuer,
    audiences: entry.audiences,
    algorithms: entry.algorithms,
    tenant: tenantFrom(entry.tenant),
    groupsClaim: entry.groups?.claim,
    claims,
    clockToleranceMs: entry.clockToleranceMs,
    maxLifetimeMs: entry.maxLifetimeMs,
    jwksCacheMs: entry.jwksCacheMs,
    jwksStaleMs: entry.jwksStaleMs,
    caFile: entry.caFile === undefined ? undefined : resolveFile(file, entry.caFile),
    insecureHttp: entry.insecureHttp,
  }
}

function tenantFrom({ claim, fixed }: Entry<'issuers'>['tenant']): Issuer['tenant'] {
  if (fixed !== undefined) return { kind: 'fixed', tenant: fixed }
  if (claim !== undefined) return { kind: 'claim', claim }
  throw new Error('an issuer without a tenant, which the rules refuse')
}

function apiKeyFrom({ client, expires, ...entry }: Entry<'apiKeys'>): ApiKey {
  return { ...entry, client, expiresAtEpochMs: expires }
}

function modelFrom({ tokenizer, prices, ...entry }: Entry<'models'>): Model {
  return { ...entry, encoding: tokenizer, prices: prices && pricesFrom(prices) }
}

function pricesFrom({
  input,
  cachedInput = input,
  cacheWrite = input,
  output,
}: NonNullable<Entry<'models'>['prices']>): Prices {
  return {
    inputPicos: input,
    cachedInputPicos: cachedInput,
    cacheWritePicos: cacheWrite,
    outputPicos: output,
  }
}

function grantFrom(entry: Entry<'grants'>, index: number): Grant {
  return {
    name: entry.name ?? `grants[${String(index)}]`,
    tenants: entry.tenants,
    groups: entry.groups,
    clients: entry.clients,
    anyone: entry.anyone,
    models: entry.models,
    paths: entry.paths,
    maxOutputTokens: entry.maxOutputTokens,
    fields: entry.fields,
    unlimited: entry.unlimited,
  }
}

function quotaFrom(entry: Entry<'quotas'>): PolicyQuota {
  return {
    name: entry.name,
    unit: entry.unit,
    limit: limitFrom(entry.unit, entry.limit),
    window: windowFrom(entry),
    by: entry.by,
    groups: entry.groups,
    models: entry.models,
    shadow: entry.shadow,
    onStoreFailure: entry.onStoreFailure,
    ...limitsFrom(entry),
    ...(entry.slices ? { slices: true } : {}),
  }
}

function limitsFrom({
  unit,
  overrides,
  limitClaim,
}: Entry<'quotas'>): Omit<PolicyQuota, keyof Quota> {
  return {
    ...(overrides.length > 0 && {
      overrides: overrides.map((entry) => ({ ...entry, limit: limitFrom(unit, entry.limit) })),
    }),
    ...(limitClaim && {
      limitClaim: { claim: limitClaim.claim, atMost: limitFrom(unit, limitClaim.atMost) },
    }),
  }
}

/** Whole units: of money, micro-units. */
function limitFrom(unit: QuotaUnitName, written: number): number {
  const limit = unit === 'cost' ? toMicros(written) : written
  if (limit === undefined) throw new Error('a limit that is no amount, which the rules refuse')
  return limit
}

function windowFrom({ window, timezone }: Entry<'quotas'>): Window {
  if (window === undefined) return { kind: 'open' }
  return window.kind === 'calendar' ? { ...window, timeZone: timezone ?? 'UTC' } : window
}

function inspectionFrom(section: Sections['inspection']): InspectionRules {
  return {
    injection: {
      action: section.injection.action,
      threshold: section.injection.threshold,
      untrustedThreshold: section.injection.untrusted.threshold,
    },
    controlTokens: section['control-tokens'],
    secrets: section.secrets,
    personalData: section['personal-data'],
    prohibited: section.prohibited,
  }
}
