import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { partitionKey } from '../../src/quota/keys.js'
import type { PartitionedCaller, PartitionValue } from '../../src/quota/keys.js'
import { quotaFor } from '../../src/quota/limits.js'
import type { PolicyQuota } from '../../src/quota/limits.js'
import { createMemoryLedger } from '../../src/quota/memory-ledger.js'
import { quotaOf } from './quotas.js'
import { runs } from '../runs.js'

function caller(changes: Partial<PartitionedCaller> = {}): PartitionedCaller {
  return {
    tenant: 'acme',
    subject: 'ada',
    client: undefined,
    apiKey: undefined,
    groups: [],
    model: 'llama',
    pool: 'gpu',
    route: '/v1/messages',
    spiffe: undefined,
    claims: new Map(),
    ...changes,
  }
}

const withClaim = (budget: PartitionValue) => caller({ claims: new Map([['budget', budget]]) })

function limitOf(quota: PolicyQuota, of: PartitionedCaller): number {
  return quotaFor(quota, of).limit
}

describe('the limit of a caller', () => {
  const quota: PolicyQuota = {
    ...quotaOf({ by: ['tenant', 'subject'], limit: 100 }),
    overrides: [
      { tenants: ['acme'], groups: ['research'], limit: 700 },
      { tenants: ['acme', 'umbra'], groups: [], limit: 500 },
      { tenants: [], groups: ['research', 'sales'], limit: 300 },
    ],
  }

  test('is that of the first override whose lists all hold it, else that of the quota', () => {
    expect(limitOf(quota, caller({ groups: ['x', 'research'] }))).toBe(700)
    expect(limitOf(quota, caller({ groups: ['sales'] }))).toBe(500)
    expect(limitOf(quota, caller({ tenant: 'umbra', groups: ['research'] }))).toBe(500)
    expect(limitOf(quota, caller({ tenant: 'zeta', groups: ['sales'] }))).toBe(300)
    expect(limitOf(quota, caller({ tenant: 'zeta' }))).toBe(100)
  })

  test('is found as by trying one override after the other', () => {
    const name = fc.constantFrom('a', 'b', 'c', 'd')
    const names = fc.uniqueArray(name, { maxLength: 3 })
    const override = fc
      .record({ tenants: names, groups: names, limit: fc.integer({ min: 1, max: 9 }) })
      .filter(({ tenants, groups }) => tenants.length + groups.length > 0)
    fc.assert(
      fc.property(
        fc.array(override, { maxLength: 8 }),
        name,
        names,
        (overrides, tenant, groups) => {
          const first = overrides.find(
            (each) =>
              (each.tenants.length === 0 || each.tenants.includes(tenant)) &&
              (each.groups.length === 0 || each.groups.some((group) => groups.includes(group))),
          )
          const many = { ...quotaOf({ by: ['tenant', 'subject'], limit: 100 }), overrides }
          expect(limitOf(many, caller({ tenant, groups }))).toBe(first?.limit ?? 100)
        },
      ),
      { numRuns: runs(1000) },
    )
  })

  test('is that of the group in whose partition it counts, not of another that it is in', () => {
    const byGroup: PolicyQuota = {
      ...quotaOf({ by: ['tenant', 'group'], groups: ['sales', 'research'], limit: 100 }),
      overrides: [{ tenants: [], groups: ['research'], limit: 700 }],
    }
    expect(limitOf(byGroup, caller({ groups: ['research'] }))).toBe(700)
    expect(limitOf(byGroup, caller({ groups: ['research', 'sales'] }))).toBe(100)
    expect(limitOf(byGroup, caller({ groups: ['other'] }))).toBe(100)
  })

  test('is what its credential carries, up to what the policy lets it', () => {
    const carried: PolicyQuota = { ...quota, limitClaim: { claim: 'budget', atMost: 900 } }
    expect(limitOf(carried, withClaim(800))).toBe(800)
    expect(limitOf(carried, withClaim(1))).toBe(1)
    expect(limitOf(carried, withClaim(1_000_000))).toBe(900)
    expect(limitOf(carried, caller())).toBe(500)
    expect(quotaFor(carried, withClaim(800)).limitCarried).toBe(true)
    expect(quotaFor(carried, caller()).limitCarried).toBeUndefined()
  })

  test('is carried in the currency where it is money', () => {
    const cost: PolicyQuota = {
      ...quotaOf({ unit: 'cost', limit: 1_000_000 }),
      limitClaim: { claim: 'budget', atMost: 50_000_000 },
    }
    expect(limitOf(cost, withClaim(25.5))).toBe(25_500_000)
    expect(limitOf(cost, withClaim(51))).toBe(50_000_000)
  })
})

describe('a quota with the limit of a caller', () => {
  const quota: PolicyQuota = {
    ...quotaOf({ by: ['tenant'], limit: 100 }),
    overrides: [{ tenants: ['acme'], groups: [], limit: 700 }],
    limitClaim: { claim: 'budget', atMost: 10_000 },
  }

  test('is the same for the same limit, and the quota itself where it has but one', () => {
    expect(quotaFor(quota, caller())).toBe(quotaFor(quota, caller({ subject: 'bob' })))
    expect(quotaFor(quota, caller())).not.toBe(quotaFor(quota, caller({ tenant: 'zeta' })))
    expect(quotaFor(quota, caller())).not.toBe(quotaFor(quota, withClaim(700)))
    const plain = quotaOf()
    expect(quotaFor(plain, caller())).toBe(plain)
  })

  test('does not name those for whom there are others: it is stored with each reservation', () => {
    expect(JSON.parse(JSON.stringify(quotaFor(quota, caller())))).toEqual({
      ...quotaOf({ by: ['tenant'], limit: 700 }),
    })
  })

  test('is kept for a bounded number of limits, whatever the claims carry', () => {
    const own = { ...quota }
    const first = quotaFor(own, withClaim(1))
    for (let budget = 2; budget <= 1024; budget += 1) quotaFor(own, withClaim(budget))
    expect(quotaFor(own, withClaim(1))).toBe(first)
    quotaFor(own, withClaim(1025))
    expect(quotaFor(own, withClaim(1))).not.toBe(first)
  })

  test('counts in the same partition: a changed limit keeps what was spent', async () => {
    const ledger = createMemoryLedger<string>()
    const reserve = (id: string, of: PartitionedCaller, amount: number) => {
      const own = quotaFor(quota, of)
      const holds = [{ quota: own, partitionKey: partitionKey(own, of), amount }]
      return ledger.reserve({ id, idempotencyKey: id, holds, context: '', leaseMs: 1000 }, 1000)
    }
    expect(await reserve('a', caller(), 600)).toMatchObject({ kind: 'held' })
    expect(await reserve('b', withClaim(650), 51)).toMatchObject({ kind: 'short' })
    expect(await reserve('c', withClaim(650), 50)).toMatchObject({ kind: 'held' })
    expect(await reserve('d', withClaim(5000), 4350)).toMatchObject({ kind: 'held' })
    expect(await reserve('e', caller(), 1)).toMatchObject({ kind: 'short' })
    expect(partitionKey(quotaFor(quota, withClaim(5)), caller())).toBe(
      partitionKey(quota, caller()),
    )
  })
})
