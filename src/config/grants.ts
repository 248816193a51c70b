import { matchesPattern } from '../policy.js'
import type { Prices } from '../prices.js'
import { amountToReserve, quotaUnitNames } from '../quota/units.js'
import type { QuotaUnitName } from '../quota/units.js'
import type { KeyPath, SayFault } from './faults.js'
import { checkTenants, fixedTenants } from './fixed-tenants.js'
import { checkModelPatterns, namedModels } from './model-patterns.js'
import { given, soundItems, wrong } from './partly.js'
import { refuseRepeats } from './repeats.js'
import type { FileContent } from './schema.js'
import type { PartlyEntry } from './schema-entries.js'

type Grant = PartlyEntry<'grants'>
type NamedModel = ReturnType<typeof namedModels>[number]

/**
 * Rules of the grants. The one that matters most: a grant that no token quota binds would be an unmetered
 * way to the GPUs, so it has to say `unlimited: true`.
 */
export function checkGrants(content: FileContent, fault: SayFault): void {
  const models = namedModels(content)
  const tenants = fixedTenants(content)
  const grants = soundItems(content.grants)
  refuseRepeats(
    grants.map(({ index, item }) => ({ at: ['grants', index, 'name'], name: item.name })),
    'a grant name',
    fault,
  )
  for (const { index: position, item: grant } of grants) {
    const at = ['grants', position]
    checkWho(grant, at, fault)
    checkTenants(grant.tenants, tenants, [...at, 'tenants'], fault)
    checkWhat(grant, at, fault)
    checkModelPatterns(grant.models, [...at, 'models'], content, fault)
    checkGrantedPaths(grant, content, at, fault)
    const covered = models.filter(({ name }) =>
      soundItems(grant.models).some(({ item }) => matchesPattern(item, name)),
    )
    checkOutput(grant, covered, at, fault)
    checkBound(grant, covered, content, at, fault)
  }
}

function checkWho(grant: Grant, at: KeyPath, fault: SayFault): void {
  given(
    [grant.tenants, grant.groups, grant.clients, grant.anyone],
    (tenants, groups, clients, anyone) => {
      const conditions = tenants.length + groups.length + clients.length
      if (conditions === 0 && !anyone) {
        fault(
          at,
          'a condition: one of tenants, groups and clients, or anyone: true for every verified caller',
        )
      }
      if (conditions > 0 && anyone) {
        fault([...at, 'anyone'], 'to be left out, since the grant lists who it is for')
      }
    },
  )
}

function checkWhat(grant: Grant, at: KeyPath, fault: SayFault): void {
  given([grant.models, grant.paths], (models, paths) => {
    if (models.length === 0 && paths.length === 0) {
      fault(at, 'models, paths or both: it grants nothing')
    }
  })
  for (const key of ['maxOutputTokens', 'fields', 'unlimited'] as const) {
    given([grant.models, grant[key]], (models, value) => {
      if (models.length > 0 || !isSet(value)) return
      fault([...at, key], 'to be left out, since it grants no models')
    })
  }
}

function isSet(value: number | boolean | readonly unknown[] | undefined): boolean {
  return Array.isArray(value) ? value.length > 0 : value !== undefined && value !== false
}

function checkGrantedPaths(
  grant: Grant,
  { paths }: FileContent,
  at: KeyPath,
  fault: SayFault,
): void {
  // A path that is wrong may be the one that is meant.
  if (paths === wrong || paths.some(({ path }) => path === wrong)) return
  for (const { index, item } of soundItems(grant.paths)) {
    if (paths.some(({ path }) => path === item)) continue
    fault([...at, 'paths', index], 'a path that the section paths lists')
  }
}

function checkOutput(
  grant: Grant,
  covered: readonly NamedModel[],
  at: KeyPath,
  fault: SayFault,
): void {
  const contexts = covered.flatMap(({ name, model: { contextTokens } }) =>
    contextTokens === wrong ? [] : [{ name, contextTokens }],
  )
  const [first, ...others] = contexts
  if (first === undefined) return
  const smallest = others.reduce(
    (least, model) => (model.contextTokens < least.contextTokens ? model : least),
    first,
  )
  given([grant.maxOutputTokens], (capTokens) => {
    if (capTokens === undefined || capTokens < smallest.contextTokens) return
    fault(
      [...at, 'maxOutputTokens'],
      `less than ${String(smallest.contextTokens)}, the contextTokens of ${smallest.name}`,
    )
  })
}

function checkBound(
  grant: Grant,
  covered: readonly NamedModel[],
  { quotas }: FileContent,
  at: KeyPath,
  fault: SayFault,
): void {
  if (grant.unlimited !== false || quotas === wrong) return
  const unbound = covered
    .filter(({ name, model }) => {
      const binding = quotas.filter((quota) => mayBind(quota, name))
      const prices = pricesOf(model)
      return directions.some(
        (grows) => !binding.some(({ unit }) => unit === wrong || grows(unit, prices)),
      )
    })
    .map(({ name }) => name)
  if (unbound.length === 0) return
  const rest = unbound.length > 3 ? ` and ${String(unbound.length - 3)} more` : ''
  fault(
    at,
    `unlimited: true, or ${meteringQuotas} without shadow that binds ${unbound.slice(0, 3).join(', ')}${rest}`,
  )
}

/** What is wrong in the quota may have been meant to bind. */
function mayBind({ shadow, models }: PartlyEntry<'quotas'>, modelName: string): boolean {
  return (
    shadow !== true &&
    (models === wrong ||
      models.length === 0 ||
      models.some((pattern) => pattern === wrong || matchesPattern(pattern, modelName)))
  )
}

const many = 1_000_000

/** Does a request hold more of the unit the more it sends, or the more it may generate? Metered is what is both. */
const directions = [
  (unit: QuotaUnitName, prices: Prices): boolean =>
    held(unit, prices, many, 0) > held(unit, prices, 0, 0),
  (unit: QuotaUnitName, prices: Prices): boolean =>
    held(unit, prices, 0, many) > held(unit, prices, 0, 0),
] as const

function held(
  unit: QuotaUnitName,
  prices: Prices,
  inputTokens: number,
  outputTokens: number,
): number {
  return amountToReserve(unit, { inputTokens, outputTokens, prices })
}

/** What is wrong or missing counts as some price: it has a fault of its own. */
const somePrices: Prices = {
  inputPicos: 1,
  cachedInputPicos: 1,
  cacheWritePicos: 1,
  outputPicos: 1,
}

function pricesOf({ prices }: NamedModel['model']): Prices {
  if (prices === undefined || prices === wrong) return somePrices
  const { input, output } = prices
  return {
    ...somePrices,
    inputPicos: input === wrong ? 1 : input,
    // Input that is dear only when it comes from the cache is not metered by it.
    cachedInputPicos: 0,
    cacheWritePicos: 0,
    outputPicos: output === wrong ? 1 : output,
  }
}

const bothWays = quotaUnitNames.filter((unit) =>
  directions.every((grows) => grows(unit, somePrices)),
)
const meteringQuotas = `a quota of unit ${bothWays.join(' or ')}, or quotas of input_tokens and output_tokens,`
