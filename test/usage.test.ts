import { afterEach, expect, test } from 'vitest'
import type { Admission } from '../src/admission.js'
import { listenForAdmin } from '../src/admin/listeners.js'
import type { HttpListener } from '../src/admin/listeners.js'
import type { ClaimValue, Principal } from '../src/identity/principal.js'
import { holdsFor } from '../src/holds.js'
import { createMemoryLedger } from '../src/quota/memory/memory-ledger.js'
import type { PartitionDimension } from '../src/quota/quota.js'
import { alice, examplePolicy, pricedPolicy } from './example-policy.js'
import { exampleAdmission } from './example-admission.js'

const clock = { nowEpochMs: () => Date.UTC(2026, 0, 1), monotonicMs: () => 0 }
const estimate = { inputTokens: 70, outputTokens: 30 }
const request = { path: '/v1/messages', peer: 'spiffe://acme.example/ci' }
let listener: HttpListener | undefined
afterEach(async () => {
  await listener?.stop()
})

/** What `/usage` says of a quota by tenant and `dimension`, of which alice holds 100 tokens. */
async function reservedOf(dimension: PartitionDimension, query: string): Promise<unknown> {
  const { quotas, models } = examplePolicy()
  const [quota, model] = [quotas[0], models[0]]
  if (quota === undefined || model === undefined) throw new Error('the example has both')
  const caller: Principal = {
    ...alice,
    apiKey: 'nightly',
    claims: new Map<string, ClaimValue>([
      ['level', 3],
      ['team', 'red'],
    ]),
  }
  const by: readonly PartitionDimension[] = ['tenant', dimension]
  const groups = dimension === 'group' ? ['sales', 'research'] : []
  const policy = examplePolicy({ quotas: [{ ...quota, by, groups }] })
  const ledger = createMemoryLedger<Admission>()
  const context = exampleAdmission({ auditId: 'a', client: 'app', model: model.name, ...estimate })
  await ledger.reserve(
    {
      id: 'r',
      idempotencyKey: 'k',
      holds: holdsFor(policy, caller, model, estimate, request),
      context,
      leaseMs: 60_000,
    },
    clock.nowEpochMs(),
  )
  const address = { kind: 'tcp', host: '127.0.0.1', port: 0 } as const
  listener = await listenForAdmin(address, { policy: () => policy, ledger, clock })
  const response = await fetch(`http://${listener.address}/usage?tenant=acme&${query}`)
  const { quotas: rows } = (await response.json()) as {
    quotas: { reserved?: number; needs?: readonly string[] }[]
  }
  return rows[0]?.reserved ?? rows[0]?.needs
}

test.each<[PartitionDimension, string, unknown]>([
  ['subject', 'subject=alice', 100],
  ['subject', '', ['subject']],
  ['client', 'client=app', 100],
  // A caller may have no client and no group, so neither has to be named.
  ['client', '', 0],
  ['group', 'group=other&group=research', 100],
  ['group', '', 0],
  ['model', 'model=llama-70b', 100],
  // Requests may name an alias, and their spending is kept under the model's own name.
  ['model', 'model=llama', 100],
  ['model', 'model=unknown', 0],
  ['model', '', ['model']],
  ['pool', 'pool=gpu-a', 100],
  // The pool follows from the model.
  ['pool', 'model=llama', 100],
  ['pool', 'pool=gpu-b&model=llama', 0],
  ['pool', '', ['pool']],
  ['route', 'route=/v1/messages', 100],
  ['route', '', ['route']],
  ['spiffe', 'spiffe=spiffe://acme.example/ci', 100],
  ['spiffe', '', 0],
  ['api_key', 'api_key=nightly', 100],
  ['api_key', 'api_key=weekly', 0],
  ['api_key', '', 0],
  ['claim:level', 'claim:level=3', 100],
  ['claim:level', 'claim:level="3"', 0],
  ['claim:level', '', 0],
  ['claim:team', 'claim:team=red', 100],
  ['claim:team', 'claim:team="red"', 100],
])('/usage of a quota by %s, asked for with "%s", says %j', async (dimension, query, expected) => {
  expect(await reservedOf(dimension, query)).toEqual(expected)
})

test('/usage tells money in the currency of the policy, under the limit of the caller', async () => {
  const policy = pricedPolicy({
    name: 'budget',
    unit: 'cost',
    limit: 1_000_000,
    by: ['tenant'],
    overrides: [{ tenants: ['acme'], groups: [], limit: 25_500_000 }],
    limitClaim: { claim: 'budget', atMost: 30_000_000 },
  })
  const [model] = policy.models
  if (model === undefined) throw new Error('the example has one')
  const ledger = createMemoryLedger<Admission>()
  const context = exampleAdmission({ auditId: 'a', ...estimate })
  const holds = holdsFor(policy, alice, model, estimate, request)
  await ledger.reserve(
    { id: 'r', idempotencyKey: 'k', holds, context, leaseMs: 60_000 },
    clock.nowEpochMs(),
  )
  const address = { kind: 'tcp', host: '127.0.0.1', port: 0 } as const
  listener = await listenForAdmin(address, { policy: () => policy, ledger, clock })
  const rowOf = async (query: string): Promise<unknown> => {
    const response = await fetch(`http://${listener?.address ?? ''}/usage?${query}`)
    return ((await response.json()) as { quotas: readonly unknown[] }).quotas[0]
  }
  // 70 input and 30 output tokens.
  const row = { quota: 'budget', unit: 'cost', spent: 0, reserved: 0.00037, debt: 0 }
  expect(await rowOf('tenant=acme')).toMatchObject({ ...row, limit: 25.5, remaining: 25.49963 })
  expect(await rowOf('tenant=acme&claim:budget=0.5')).toMatchObject({ ...row, limit: 0.5 })
  expect(await rowOf('tenant=acme&claim:budget=99')).toMatchObject({ ...row, limit: 30 })
  expect(await rowOf('tenant=zeta')).toMatchObject({ reserved: 0, limit: 1, remaining: 1 })
})
