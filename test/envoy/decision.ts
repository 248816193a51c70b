import type { Allow, Decision } from '../../src/decision.js'
import type { Principal } from '../../src/identity/principal.js'
import { dialectNamed } from '../../src/llm/dialects.js'
import type { Balance } from '../../src/quota/ledger.js'
import type { QuotaUnitName } from '../../src/quota/quota.js'
import { exampleAdmission } from '../example-admission.js'

/** An allowed chat of a caller that is known; each test changes what it is about. */
export const principal: Principal = {
  issuer: 'https://idp.example.com',
  subject: 'ann',
  tenant: 'acme',
  groups: ['research'],
  scopes: [],
  client: 'notebook',
  expiresAtEpochMs: 1_900_000_000_000,
}

/** Of a path that names no model: nothing is reserved. */
export const plainAllow: Allow = {
  kind: 'allow',
  pool: 'gpu-a',
  keepCredential: false,
  injectStreamUsage: false,
  balances: [],
}

export const allow: Allow = {
  ...plainAllow,
  reservation: {
    id: 'AAAAAAAAAAAAAAAAAAAAAA',
    carrier: 'AAAAAAAAAAAAAAAAAAAAAA',
    admission: exampleAdmission({
      subject: 'ann',
      client: 'notebook',
      model: 'llama-3.3-70b',
      outputTokens: 1024,
    }),
    holds: [],
  },
}

export function decision(changes: Partial<Decision> = {}): Decision {
  return {
    auditId: 'audit-1',
    atEpochMs: 1_800_000_000_000,
    request: {
      streamId: '7',
      startedAt: '1800000000.000000000',
      requestId: undefined,
      method: 'POST',
      path: '/v1/chat/completions',
      headers: new Map(),
      body: undefined,
      peer: '',
      context: {},
      signal: new AbortController().signal,
    },
    dialect: dialectNamed('openai'),
    principal,
    model: 'llama-3.3-70b',
    findings: [],
    shadowQuotas: [],
    fallback: undefined,
    policyGeneration: '0123456789ab',
    stagesMs: {},
    verdict: allow,
    ...changes,
  }
}

export function balance(
  unit: QuotaUnitName,
  limit: number,
  remaining: number,
  changes: {
    readonly shadow?: boolean
    readonly resetMs?: number
    readonly by?: Balance['quota']['by']
  } = {},
): Balance {
  return {
    quota: {
      name: `${unit}-${String(limit)}`,
      unit,
      limit,
      window: { kind: 'sliding', lengthMs: 60_000 },
      by: changes.by ?? ['tenant'],
      groups: [],
      models: [],
      shadow: changes.shadow ?? false,
    },
    partitionKey: 'p',
    spent: limit - remaining,
    reserved: 0,
    debt: 0,
    remaining,
    resetMs: changes.resetMs ?? 1000,
  }
}
