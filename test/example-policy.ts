import type { Authenticator } from '../src/identity/authenticate.js'
import type { Principal } from '../src/identity/principal.js'
import type { Policy } from '../src/policy.js'

/** A small policy for tests: one issuer, one model, one grant, a token quota per subject. */
export function examplePolicy(changes: Partial<Policy> = {}): Policy {
  return {
    generation: '0123456789ab',
    issuers: [],
    apiKeys: [],
    models: [
      {
        name: 'llama-70b',
        aliases: ['llama'],
        encoding: 'cl100k_base',
        contextTokens: 8192,
        defaultOutputTokens: 1024,
        uncapped: 'cap',
        streamUsage: 'inject',
        stopsOnDisconnect: false,
        extraFields: [],
        pool: 'gpu-a',
      },
    ],
    paths: [
      { path: '/health', method: 'GET', pool: 'gpu-a', public: true },
      { path: '/v1/models', method: 'GET', pool: 'gpu-a', public: false },
    ],
    grants: [
      {
        name: 'research',
        tenants: [],
        groups: ['research'],
        clients: [],
        anyone: false,
        models: ['llama-*'],
        paths: ['/v1/models'],
        maxOutputTokens: 1000,
        fields: [],
        unlimited: false,
      },
    ],
    quotas: [
      {
        name: 'user-minute',
        unit: 'tokens',
        limit: 10_000,
        window: { kind: 'sliding', lengthMs: 60_000 },
        by: ['tenant', 'subject'],
        groups: [],
        models: [],
        shadow: false,
      },
    ],
    inspection: {
      injection: { action: 'block', threshold: 0.9, untrustedThreshold: 0.7 },
      controlTokens: { action: 'block' },
      secrets: { action: 'block' },
      personalData: { action: 'flag', kinds: ['credit_card', 'iban', 'us_ssn'] },
      prohibited: [{ name: 'weapons', action: 'block', phrases: ['build a bomb'], patterns: [] }],
    },
    maxBodyBytes: 8 * 1024 * 1024,
    leaseMs: 1_860_000,
    maxStreamMs: 1_800_000,
    keepCredential: false,
    ...changes,
  }
}

export const examplePrices = {
  inputPicos: 1_000_000,
  cachedInputPicos: 1_000_000,
  cacheWritePicos: 1_000_000,
  outputPicos: 10_000_000,
}

/** The same policy with `examplePrices`, and its quota changed to each of these. */
export function pricedPolicy(...quotas: readonly Partial<Policy['quotas'][number]>[]): Policy {
  const policy = examplePolicy()
  return {
    ...policy,
    models: policy.models.map((model) => ({ ...model, prices: examplePrices })),
    quotas: policy.quotas.flatMap((quota) => quotas.map((changes) => ({ ...quota, ...changes }))),
  }
}

/** Whom its grant allows. */
export const alice: Principal = {
  issuer: 'https://idp.example',
  subject: 'alice',
  tenant: 'acme',
  groups: ['research'],
  scopes: [],
  client: 'app',
  expiresAtEpochMs: 0,
}

/** Takes every credential for hers. */
export const asAlice: Authenticator = {
  authenticate: async () => alice,
  ready: () => true,
  prefetch: async () => undefined,
}
