import type { ConfigFault } from '../errors.js'
import { matchesPattern } from '../policy.js'
import type { FileContent } from './read-sections.js'
import { checkModelPatterns } from './rules.js'
import type { GrantEntry, ModelEntry, QuotaEntry } from './schema-entries.js'
import type { KeyPath } from './faults.js'
import type { YamlDocument } from './yaml-document.js'

/**
 * Rules of the grants. The one that matters most: a grant that no token quota binds would be an unmetered
 * way to the GPUs, so it has to say `unlimited: true`.
 */
export function checkGrants(
  content: FileContent,
  document: YamlDocument,
  report: (fault: ConfigFault) => void,
): void {
  const fault = (at: KeyPath, expected: string): void => {
    report(document.fault(at, expected))
  }
  const { grants, models, paths, quotas } = content
  const names = new Set<string>()
  checkModelPatterns(grants, models, fault)
  for (const { at, value: grant } of grants.items) {
    if (grant.name !== undefined) {
      if (names.has(grant.name)) fault([...at, 'name'], 'a grant name that no earlier entry has')
      names.add(grant.name)
    }
    checkWho(grant, at, fault)
    if (grant.models.length === 0 && grant.paths.length === 0) {
      fault(at, 'models, paths or both: it grants nothing')
    }
    if (grant.models.length === 0) {
      for (const key of ['maxOutputTokens', 'fields', 'unlimited'] as const) {
        if (isSet(grant[key])) fault([...at, key], 'to be left out, since it grants no models')
      }
    }
    grant.paths.forEach((path, index) => {
      if (paths.complete && !paths.items.some((plain) => plain.value.path === path)) {
        fault([...at, 'paths', index], 'a path that the section paths lists')
      }
    })
    const covered = models.items
      .map((model) => model.value)
      .filter((model) => grant.models.some((pattern) => matchesPattern(pattern, model.name)))
    checkOutput(grant, covered, at, fault)
    if (quotas.complete && models.complete) {
      checkBound(
        grant,
        covered,
        quotas.items.map((quota) => quota.value),
        at,
        fault,
      )
    }
  }
}

type Fault = (at: KeyPath, expected: string) => void

function isSet(value: number | boolean | readonly string[] | undefined): boolean {
  return Array.isArray(value) ? value.length > 0 : value !== undefined && value !== false
}

function checkWho(grant: GrantEntry, at: KeyPath, fault: Fault): void {
  const conditions = grant.tenants.length + grant.groups.length + grant.clients.length
  if (conditions === 0 && !grant.anyone) {
    fault(at, 'a condition: tenants, groups, clients, or anyone: true for every verified caller')
  }
  if (conditions > 0 && grant.anyone) {
    fault([...at, 'anyone'], 'to be left out, since the grant lists who it is for')
  }
}

function checkOutput(
  grant: GrantEntry,
  covered: readonly ModelEntry[],
  at: KeyPath,
  fault: Fault,
): void {
  const cap = grant.maxOutputTokens
  if (cap === undefined || covered.length === 0) return
  const smallest = covered.reduce((least, model) =>
    model.contextTokens < least.contextTokens ? model : least,
  )
  if (cap >= smallest.contextTokens) {
    fault(
      [...at, 'maxOutputTokens'],
      `less than ${String(smallest.contextTokens)}, the contextTokens of ${smallest.name}`,
    )
  }
}

function checkBound(
  grant: GrantEntry,
  covered: readonly ModelEntry[],
  quotas: readonly QuotaEntry[],
  at: KeyPath,
  fault: Fault,
): void {
  if (grant.unlimited) return
  const unbound = covered.filter(
    (model) => !quotas.some((quota) => limitsTokens(quota, model.name)),
  )
  if (unbound.length === 0) return
  const names = unbound.slice(0, 3).map((model) => model.name)
  const rest = unbound.length > 3 ? ` and ${String(unbound.length - 3)} more` : ''
  fault(
    at,
    `unlimited: true, or a quota of unit tokens without shadow that binds ${names.join(', ')}${rest}`,
  )
}

function limitsTokens(quota: QuotaEntry, modelName: string): boolean {
  return (
    quota.unit === 'tokens' &&
    !quota.shadow &&
    (quota.models.length === 0 ||
      quota.models.some((pattern) => matchesPattern(pattern, modelName)))
  )
}
