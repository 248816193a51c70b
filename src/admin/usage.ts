import type { Admission } from '../admission.js'
import type { Clock } from '../clock.js'
import { findModel } from '../policy.js'
import type { Policy } from '../policy.js'
import type { GuardedLedger } from '../quota/guarded-ledger.js'
import { describePartition, partitionKey } from '../quota/keys.js'
import type { PartitionedCaller, PartitionValue } from '../quota/keys.js'
import type { Balance } from '../quota/ledger.js'
import { quotaFor } from '../quota/limits.js'
import { claimOf, plainDimensions } from '../quota/quota.js'
import type { PartitionDimension, Quota } from '../quota/quota.js'
import { formatAmount } from '../quota/units.js'
import { text } from './http.js'
import type { Answer } from './http.js'

export interface UsageParts {
  readonly policy: () => Policy
  readonly ledger: GuardedLedger<Admission>
  readonly clock: Clock
}

const usageParameters: readonly string[] = plainDimensions

/**
 * What each quota has left for one caller and what was spent. A quota that counts by more than the query names
 * is listed with the parameters it still needs.
 */
export async function usage(query: URLSearchParams, parts: UsageParts): Promise<Answer> {
  const tenant = query.get('tenant')
  if (tenant === null || tenant === '') {
    const others = usageParameters.filter((name) => name !== 'tenant').map((name) => `[&${name}=]`)
    return text(400, `usage: /usage?tenant=TENANT${others.join('')}[&claim:NAME=]`)
  }
  const claims = claimsOf(query)
  const unknown = [...query.keys()].find(
    (name) => !usageParameters.includes(name) && !name.startsWith('claim:'),
  )
  if (unknown !== undefined) {
    return text(400, `unknown parameter; it takes ${usageParameters.join(', ')}, claim:NAME`)
  }
  const policy = parts.policy()
  const asked = query.get('model') ?? ''
  const model = findModel(policy, asked)
  const pool = query.get('pool') ?? model?.pool
  const rows = await Promise.all(
    policy.quotas.map(async (quota) => {
      const needs = quota.by.filter(
        (dimension) => !isNamed(dimension, query) && !(dimension === 'pool' && pool !== undefined),
      )
      if (needs.length > 0) return { ...describe(quota), needs }
      const caller = {
        tenant,
        subject: query.get('subject') ?? '',
        client: query.get('client') ?? undefined,
        apiKey: query.get('api_key') ?? undefined,
        groups: query.getAll('group'),
        // Spending is kept under the model's name, by whichever of its names it was asked for.
        model: model?.name ?? asked,
        pool: pool ?? '',
        route: query.get('route') ?? '',
        spiffe: query.get('spiffe') ?? undefined,
        claims,
      }
      const own = quotaFor(quota, caller)
      const hold = { quota: own, partitionKey: partitionKey(own, caller), amount: 0 }
      const [balance] = await parts.ledger.balances([hold], parts.clock.nowEpochMs())
      return {
        ...describe(own),
        partition: describePartition(quota, caller),
        ...(balance === undefined ? {} : figures(balance)),
      }
    }),
  )
  const body = JSON.stringify(
    { tenant, subject: query.get('subject'), policyGeneration: policy.generation, quotas: rows },
    null,
    2,
  )
  return { status: 200, contentType: 'application/json', body: `${body}\n` }
}

/** A caller may be without these: those count in a partition of their own when they are not named. */
const mayBeAbsent: readonly PartitionDimension[] = ['client', 'group', 'spiffe', 'api_key']

function isNamed(dimension: PartitionDimension, query: URLSearchParams): boolean {
  return mayBeAbsent.includes(dimension) || claimOf(dimension) !== undefined || query.has(dimension)
}

/** `claim:level=3` is the number, `claim:level="3"` and `claim:level=three` are texts. */
function claimsOf(query: URLSearchParams): PartitionedCaller['claims'] {
  const claims = new Map<string, PartitionValue>()
  for (const [name, written] of query) {
    if (name.startsWith('claim:')) claims.set(name.slice('claim:'.length), valueOf(written))
  }
  return claims
}

function valueOf(written: string): PartitionValue {
  let value: unknown
  try {
    value = JSON.parse(written)
  } catch {
    return written
  }
  const isValue = ['string', 'number', 'boolean'].includes(typeof value)
  return isValue ? (value as PartitionValue) : written
}

function describe(quota: Quota) {
  return {
    quota: quota.name,
    unit: quota.unit,
    limit: figure(quota, quota.limit),
    window: quota.window,
    by: quota.by,
    shadow: quota.shadow,
  }
}

function figures({ quota, spent, reserved, debt, remaining, resetMs }: Balance) {
  return {
    spent: figure(quota, spent),
    reserved: figure(quota, reserved),
    debt: figure(quota, debt),
    remaining: figure(quota, remaining),
    resetMs,
  }
}

/** As the policy writes it: money in its currency. */
function figure({ unit }: Quota, amount: number): number {
  return Number(formatAmount(unit, amount))
}
