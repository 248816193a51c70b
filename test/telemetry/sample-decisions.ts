import type { Decision } from '../../src/decision.js'
import { deny } from '../../src/denial.js'
import type { Reason } from '../../src/denial.js'
import { dialectNamed } from '../../src/llm/dialects.js'
import type { EndedReservation } from '../../src/meter.js'
import type { End } from '../../src/quota/ledger.js'
import { exampleAdmission } from '../example-admission.js'
import { alice } from '../example-policy.js'

export const admission = exampleAdmission({ client: 'app', model: 'llama-70b', outputTokens: 200 })

/** An allowed chat of alice's that reserved 300 tokens. */
export function allowed(changes: Partial<Decision> = {}): Decision {
  return {
    auditId: 'audit-1',
    atEpochMs: Date.UTC(2026, 0, 1),
    request: {
      streamId: '1',
      startedAt: '1.0',
      requestId: 'request-1',
      method: 'POST',
      path: '/v1/chat/completions',
      headers: new Map(),
      body: undefined,
      peer: 'spiffe://example.org/app',
      context: { route: 'llm' },
      signal: new AbortController().signal,
    },
    dialect: dialectNamed('openai'),
    principal: alice,
    model: 'llama-70b',
    findings: [],
    shadowQuotas: [],
    fallback: undefined,
    policyGeneration: '0123456789ab',
    stagesMs: { credential: 0.5, reserve: 2 },
    verdict: {
      kind: 'allow',
      pool: 'gpu-a',
      keepCredential: false,
      reservation: { id: 'reservation-capability', carrier: 'call', admission, holds: [] },
      injectStreamUsage: false,
      balances: [],
    },
    ...changes,
  }
}

export function denied(reason: Reason, changes: Partial<Decision> = {}): Decision {
  return allowed({ verdict: deny(reason, 'No.', { detail: 'why' }), ...changes })
}

export function endedAs(end: End | undefined, late = false): EndedReservation {
  return {
    atEpochMs: Date.UTC(2026, 0, 1),
    end,
    report: undefined,
    ended: {
      reservation: {
        id: 'reservation-capability',
        context: admission,
        holds: [],
        admittedAtEpochMs: Date.UTC(2026, 0, 1),
      },
      outcome: end?.kind ?? 'unsettled',
      late,
      charges: [],
    },
  }
}
