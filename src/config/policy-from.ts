import type { Issuer } from '../identity/issuer.js'
import type { InspectionRules } from '../inspection/rules.js'
import type { Model } from '../llm/model.js'
import type { Grant, Policy } from '../policy.js'
import type { Quota, Window } from '../quota/quota.js'
import type { FileContent } from './read-sections.js'
import { leaseMarginMs } from './schema.js'
import type { GrantEntry, IssuerEntry, ModelEntry, QuotaEntry } from './schema-entries.js'
import type { Sections } from './schema.js'
import { resolveFile } from './settings.js'

/** The policy of a file in which no fault was found. */
export function policyFrom(
  file: string,
  generation: string,
  sections: Sections,
  content: FileContent,
): Policy {
  return {
    generation,
    issuers: content.issuers.items.map(({ value }) => issuerFrom(file, value)),
    models: content.models.items.map(({ value }) => modelFrom(value)),
    paths: content.paths.items.map(({ value }) => value),
    grants: content.grants.items.map(({ value }, index) => grantFrom(value, index)),
    quotas: content.quotas.items.map(({ value }) => quotaFrom(value)),
    inspection: inspectionFrom(sections.inspection),
    maxBodyBytes: sections.limits.maxBodyBytes,
    leaseMs: sections.leaseMs ?? sections.maxStreamMs + leaseMarginMs,
    maxStreamMs: sections.maxStreamMs,
    keepCredential: sections.keepCredential,
  }
}

function issuerFrom(file: string, entry: IssuerEntry): Issuer {
  return {
    issuer: entry.issuer,
    audiences: entry.audiences,
    algorithms: entry.algorithms,
    tenant: entry.tenant,
    groupsClaim: entry.groups?.claim,
    clockToleranceMs: entry.clockToleranceMs,
    maxLifetimeMs: entry.maxLifetimeMs,
    jwksCacheMs: entry.jwksCacheMs,
    jwksStaleMs: entry.jwksStaleMs,
    caFile: entry.caFile === undefined ? undefined : resolveFile(file, entry.caFile),
    insecureHttp: entry.insecureHttp,
  }
}

function modelFrom({ tokenizer, ...entry }: ModelEntry): Model {
  return { ...entry, encoding: tokenizer }
}

function grantFrom(entry: GrantEntry, index: number): Grant {
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

function quotaFrom(entry: QuotaEntry): Quota {
  return {
    name: entry.name,
    unit: entry.unit,
    limit: entry.limit,
    window: windowFrom(entry),
    by: entry.by,
    groups: entry.groups,
    models: entry.models,
    shadow: entry.shadow,
  }
}

function windowFrom({ window, timezone }: QuotaEntry): Window {
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
