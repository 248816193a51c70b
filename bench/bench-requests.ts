import type { Quota } from '../src/quota/quota.js'

const base = { by: ['tenant', 'subject'], groups: [], models: [], shadow: false } as const

export const minute: Quota = {
  ...base,
  name: 'minute',
  unit: 'tokens',
  limit: 1e12,
  window: { kind: 'sliding', lengthMs: 60_000 },
}
export const day: Quota = {
  ...base,
  name: 'day',
  unit: 'tokens',
  limit: 1e12,
  window: { kind: 'calendar', period: 'day', timeZone: 'Europe/Berlin' },
}
export const parallel: Quota = {
  ...base,
  name: 'parallel',
  unit: 'in_flight',
  limit: 1e6,
  window: { kind: 'open' },
}
export const quotas: readonly Quota[] = [minute, day, parallel]

/** As large as what admission knows of a request. */
export const context = { tenant: 'acme', subject: 'user', model: 'llama', rest: 'x'.repeat(300) }

/** @param tenants its quotas are of so many, in turn: more than a request has, to see what several buckets cost */
export function requestOf(id: string, subject: string, asked: readonly Quota[], tenants = 1) {
  const holds = asked.map((quota, index) => ({
    quota,
    partitionKey: `{acme ${String(index % tenants)}}${quota.name}${subject}`,
    amount: 100,
  }))
  return { id, idempotencyKey: id, holds, context, leaseMs: 1_860_000 }
}

/** What a request came to, and so 80 tokens. */
export const end = { kind: 'settled', inputTokens: 20, outputTokens: 60 } as const
export const USED_TOKENS = 80
