import { beforeAll, describe, expect, test } from 'vitest'
import type { Admission } from '../src/admission.js'
import type { Decision } from '../src/decision.js'
import { toCheckResponse } from '../src/envoy/check-response.js'
import { apiKeyHash, apiKeyOf } from '../src/identity/api-keys.js'
import type { ApiKey } from '../src/identity/api-keys.js'
import { createIdentity } from '../src/identity/authenticate.js'
import { createInlineReader } from '../src/prompt/inline.js'
import type { PromptReader } from '../src/prompt/prompt.js'
import type { PolicyQuota } from '../src/quota/limits.js'
import { createMemoryLedger } from '../src/quota/memory/memory-ledger.js'
import { createLog } from '../src/telemetry/log.js'
import { createMetrics } from '../src/telemetry/metrics.js'
import { createRecorder } from '../src/telemetry/record.js'
import type { AuditRecord } from '../src/audit/record.js'
import { authorize } from './authorize-alone.js'
import { examplePolicy } from './example-policy.js'
import { postOf } from './example-request.js'
import {
  createFakeClock,
  createFakeProvider,
  createPair,
  exampleIssuer,
  goodClaims,
  issuerUrl,
  sign,
} from './identity/identity-fixture.js'
import type { SigningPair } from './identity/identity-fixture.js'
import { quotaOf } from './quota/quotas.js'

// Check with API keys, from the header to the record: real identity, real ledger.

const keys = {
  nightly: apiKeyOf(new Uint8Array(32).fill(1)),
  weekly: apiKeyOf(new Uint8Array(32).fill(2)),
  alices: apiKeyOf(new Uint8Array(32).fill(3)),
  umbras: apiKeyOf(new Uint8Array(32).fill(4)),
  stranger: apiKeyOf(new Uint8Array(32).fill(5)),
}

function entryOf(id: 'nightly' | 'weekly' | 'alices' | 'umbras', subject: string): ApiKey {
  return {
    id,
    sha256: apiKeyHash(keys[id]),
    tenant: id === 'umbras' ? 'umbra' : 'acme',
    subject,
    groups: ['research'],
    client: undefined,
    expiresAtEpochMs: undefined,
  }
}

const apiKeys = [
  entryOf('nightly', 'batch'),
  entryOf('weekly', 'batch'),
  entryOf('alices', 'alice'),
  entryOf('umbras', 'batch'),
]

let prompts: PromptReader
let pair: SigningPair
beforeAll(async () => {
  const clock = createFakeClock()
  prompts = createInlineReader({ encodings: ['cl100k_base'], timeoutMs: 60_000, clock })
  pair = await createPair('ES256', 'k1')
})

function gate(...quotas: readonly PolicyQuota[]) {
  const clock = createFakeClock()
  const { fetch } = createFakeProvider(issuerUrl, [pair.publicJwk])
  const identity = createIdentity({ clock, random: () => 0, fetch, everySecond: () => () => {} })
  const policy = examplePolicy({ quotas, issuers: [exampleIssuer()], apiKeys })
  const snapshot = { policy, authenticator: identity.use(policy.issuers, policy.apiKeys) }
  const ledger = createMemoryLedger<Admission>()
  let ids = 0
  const randomId = (): string => `id-${String((ids += 1))}`
  const parts = { snapshot: () => snapshot, prompts, ledger, clock, randomId }
  return {
    ask: (credential: string, header: 'authorization' | 'x-api-key' = 'authorization') =>
      authorize(
        postOf(
          {
            model: 'llama-70b',
            max_tokens: 100,
            messages: [{ role: 'user', content: 'Good morning.' }],
          },
          {
            streamId: randomId(),
            path: header === 'x-api-key' ? '/v1/messages' : '/v1/chat/completions',
            headers: new Map([
              [header, [header === 'x-api-key' ? credential : `Bearer ${credential}`]],
              ['content-type', ['application/json']],
            ]),
          },
        ),
        parts,
      ),
  }
}

const one = (changes: Partial<PolicyQuota> = {}): PolicyQuota => ({
  ...quotaOf({ name: 'key', unit: 'requests', limit: 1, by: ['tenant', 'api_key'] }),
  ...changes,
})

function outcome({ verdict }: Decision): string {
  return verdict.kind === 'denied' ? verdict.reason : 'allowed'
}

describe('a caller with an API key', () => {
  test.each(['authorization', 'x-api-key'] as const)(
    'is known by the header %s',
    async (header) => {
      const decision = await gate(one()).ask(keys.nightly, header)
      expect(outcome(decision)).toBe('allowed')
      expect(decision.principal).toMatchObject({
        tenant: 'acme',
        subject: 'batch',
        apiKey: 'nightly',
      })
    },
  )

  test.each([
    ['unknown', keys.stranger, 'credential_invalid'],
    ['cut short', keys.nightly.slice(0, -1), 'credential_malformed'],
    ['only as its hash', apiKeyHash(keys.nightly), 'credential_malformed'],
  ])('whose key is %s is refused in either dialect, and costs nothing', async (_, sent, reason) => {
    const { ask } = gate(one())
    const [openai, anthropic] = [await ask(sent), await ask(sent, 'x-api-key')]
    expect([outcome(openai), outcome(anthropic)]).toEqual([reason, reason])
    for (const decision of [openai, anthropic]) {
      expect(decision.principal).toBeUndefined()
      const told = JSON.stringify(toCheckResponse(decision))
      expect(told).toContain('401')
      expect(told).toContain('error=\\"invalid_token\\"')
      expect(told).not.toContain(sent)
    }
    expect(outcome(await ask(keys.nightly))).toBe('allowed')
  })

  test('is told neither to the engine nor to the client by its id', async () => {
    const decision = await gate(one()).ask(keys.nightly)
    const told = JSON.stringify(toCheckResponse(decision))
    expect(told).toContain('batch')
    for (const text of ['nightly', keys.nightly, apiKeyHash(keys.nightly)]) {
      expect(told).not.toContain(text)
    }
  })
})

describe('a quota by api_key', () => {
  test('counts each key apart, whoever its subject is', async () => {
    const { ask } = gate(one())
    expect(outcome(await ask(keys.nightly))).toBe('allowed')
    expect(outcome(await ask(keys.nightly))).toBe('quota_exhausted')
    expect(outcome(await ask(keys.weekly))).toBe('allowed')
    expect(outcome(await ask(keys.umbras))).toBe('allowed')
  })

  test('counts callers without a key together in their tenant, and apart from every key', async () => {
    const { ask } = gate(one())
    expect(outcome(await ask(await sign(pair, goodClaims({ sub: 'alice' }))))).toBe('allowed')
    expect(outcome(await ask(await sign(pair, goodClaims({ sub: 'bob' }))))).toBe('quota_exhausted')
    expect(outcome(await ask(await sign(pair, goodClaims({ org: 'umbra' }))))).toBe('allowed')
    expect(outcome(await ask(keys.alices))).toBe('allowed')
  })

  test('tells its caller what is left for it, and of no other key', async () => {
    const { ask } = gate(one(), one({ name: 'tenant', by: ['tenant'], limit: 9 }))
    await ask(keys.weekly)
    await ask(keys.nightly)
    const { verdict } = await ask(keys.nightly)
    if (verdict.kind !== 'denied') throw new Error('the second one does not fit')
    expect(verdict.message).toContain('Left: key 0 of 1 requests, tenant 7 of 9 requests.')
    expect(verdict.detail).toBe('quota key, limit 1 requests')
  })

  test('without the tenant tells nobody what is left', async () => {
    const { ask } = gate(one({ by: ['api_key'] }))
    await ask(keys.nightly)
    const { verdict } = await ask(keys.nightly)
    if (verdict.kind !== 'denied') throw new Error('the second one does not fit')
    expect(verdict.message).not.toContain('Left')
  })

  test('in shadow refuses nobody, and is named', async () => {
    const { ask } = gate(one({ shadow: true }))
    expect((await ask(keys.nightly)).shadowQuotas).toEqual([])
    expect((await ask(keys.nightly)).shadowQuotas).toEqual(['key'])
  })

  test('may have another limit for a tenant', async () => {
    const { ask } = gate(one({ overrides: [{ tenants: ['acme'], groups: [], limit: 2 }] }))
    for (const expected of ['allowed', 'allowed', 'quota_exhausted']) {
      expect(outcome(await ask(keys.nightly))).toBe(expected)
    }
    for (const expected of ['allowed', 'quota_exhausted']) {
      expect(outcome(await ask(keys.umbras))).toBe(expected)
    }
  })
})

describe('the tenant and the subject of a key', () => {
  test('are those of an issuer that names them, too', async () => {
    const { ask } = gate(one({ name: 'user', by: ['tenant', 'subject'] }))
    expect(outcome(await ask(keys.alices))).toBe('allowed')
    expect(outcome(await ask(await sign(pair, goodClaims({ sub: 'alice' }))))).toBe(
      'quota_exhausted',
    )
    expect(outcome(await ask(await sign(pair, goodClaims({ sub: 'bob' }))))).toBe('allowed')
    // Two keys of one subject are one caller, and the same subject in another tenant is another.
    expect(outcome(await ask(keys.nightly))).toBe('allowed')
    expect(outcome(await ask(keys.weekly))).toBe('quota_exhausted')
    expect(outcome(await ask(keys.umbras))).toBe('allowed')
  })

  test('share what the tenant has', async () => {
    const { ask } = gate(one({ name: 'org', by: ['tenant'], limit: 2 }))
    expect(outcome(await ask(keys.nightly))).toBe('allowed')
    expect(outcome(await ask(await sign(pair)))).toBe('allowed')
    expect(outcome(await ask(keys.weekly))).toBe('quota_exhausted')
    expect(outcome(await ask(keys.umbras))).toBe('allowed')
  })
})

test('neither a key nor a hash is in a log line, a metric or a record, which names the key by its id', async () => {
  const lines: string[] = []
  const records: AuditRecord[] = []
  const metrics = createMetrics()
  const recorder = createRecorder({
    log: createLog({ level: 'trace', destination: { write: (line: string) => lines.push(line) } }),
    metrics,
    audit: {
      append: async (record) => {
        records.push(record)
      },
      close: async () => undefined,
    },
    auditRequired: true,
    clock: createFakeClock(),
  })
  const { ask } = gate(one())
  for (const sent of [keys.nightly, keys.nightly, keys.stranger, `${keys.nightly}x`]) {
    await recorder.decision(await ask(sent), 1)
  }
  expect(records).toMatchObject([
    { decision: 'allow', apiKey: 'nightly', issuer: null, tenant: 'acme', subject: 'batch' },
    { reason: 'quota_exhausted', apiKey: 'nightly' },
    { reason: 'credential_invalid', apiKey: null, tenant: null },
    { reason: 'credential_malformed', apiKey: null, tenant: null },
  ])
  const written = [...lines, JSON.stringify(records), await metrics.render()].join('\n')
  for (const key of [keys.nightly, keys.stranger]) {
    expect(written).not.toContain(key.slice(4))
    expect(written).not.toContain(apiKeyHash(key))
  }
  // The log names no caller, and a key's id is one.
  expect(lines.join('')).not.toContain('nightly')
})
