import type { Issuer } from '../identity/issuer.js'
import type { InspectionRules } from '../inspection/rules.js'
import type { Model } from '../llm/model.js'
import type { Grant, Policy } from '../policy.js'
import type { Quota, Window } from '../quota/quota.js'
import { leaseMarginMs } from './schema.js'
import type { Entry } from './schema-entries.js'
import type { Sections, SoundContent } from './schema.js'
import { resolveFile } from './settings.js'

/** The policy of a file in which no fault was found. */
export function policyFrom(file: string, generation: string, content: SoundContent): Policy {
  return {
    generation,
    issuers: content.issuers.map((entry) => issuerFrom(file, entry)),
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

function issuerFrom(file: string, entry: Entry<'issuers'>): Issuer {
  return {
    issuer: entry.issuer,
    audiences: entry.audiences,
    algorithms: entry.algorithms,
    tenant: tenantFrom(entry.tenant),
    groupsClaim: entry.groups?.claim,
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

function modelFrom({ tokenizer, ...entry }: Entry<'models'>): Model {
  return { ...entry, encoding: tokenizer }
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

function quotaFrom(entry: Entry<'quotas'>): Quota {
  return {
    name: entry.name,
    unit: entry.unit,
    limit: entry.limit,
    window: windowFrom(entry),
    by: entry.by,
    groups: entry.groups,
    models: entry.models,
    shadow: entry.shadow,
    ...(entry.slices ? { slices: true } : {}),
  }
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
