import type { Admission } from './admission.js'
import type { Clock } from './clock.js'
import type { Denial } from './denial.js'
import type { Principal } from './identity/principal.js'
import type { Finding } from './inspection/finding.js'
import type { Dialect } from './llm/dialect.js'
import type { Policy } from './policy.js'
import type { Fallback } from './quota/failover/guarded-ledger.js'
import type { Balance, Hold } from './quota/ledger.js'
import type { IncomingRequest } from './request.js'

export interface Allow {
  readonly kind: 'allow'
  readonly pool: string
  readonly keepCredential: boolean
  /** Absent on paths that name no model. */
  readonly reservation?: {
    readonly id: string
    /** Which of the answers that have it this one is. */
    readonly carrier: string
    readonly admission: Admission
    readonly holds: readonly Hold[]
  }
  /** Envoy puts this output cap into the body: in the field that its transform filter names. */
  readonly injectCapTokens?: number
  readonly injectStreamUsage: boolean
  /** Where the caller's quotas stand after this request. */
  readonly balances: readonly Balance[]
}

export type Verdict = Allow | Denial

/** The parts of a decision whose time is measured. */
export type Stage = 'credential' | 'read' | 'inspect' | 'count' | 'reserve'

/** Everything that one Check led to; the answer, the log line, the metrics and the audit record are made of it. */
export interface Decision {
  readonly auditId: string
  readonly atEpochMs: number
  readonly request: IncomingRequest
  readonly dialect: Dialect | undefined
  readonly principal: Principal | undefined
  /** The policy's name of the model, once it is known that the caller may use it. */
  readonly model: string | undefined
  readonly findings: readonly Finding[]
  /** Shadow quotas that would have refused. */
  readonly shadowQuotas: readonly string[]
  /** What held the request, where quotas could not be asked; undefined: all could. */
  readonly fallback: Fallback | undefined
  readonly policyGeneration: string
  readonly stagesMs: Readonly<Partial<Record<Stage, number>>>
  readonly verdict: Verdict
}

/** A decision in the making: gathers what is known until one verdict closes it. */
export interface Draft {
  readonly auditId: string
  readonly request: IncomingRequest
  dialect: Dialect | undefined
  principal: Principal | undefined
  model: string | undefined
  findings: readonly Finding[]
  shadowQuotas: readonly string[]
  fallback: Fallback | undefined
  /** The time since the last lap, or since the start, belongs to this stage. */
  lap(stage: Stage): void
  close(verdict: Verdict): Decision
}

/** @param parts.randomId 128 random bits, base64url */
export function openDraft(
  request: IncomingRequest,
  policy: Policy,
  parts: { readonly clock: Clock; readonly randomId: () => string },
): Draft {
  const auditId = parts.randomId()
  const atEpochMs = parts.clock.nowEpochMs()
  const stagesMs: Partial<Record<Stage, number>> = {}
  let lapMs = parts.clock.monotonicMs()
  const draft: Draft = {
    auditId,
    request,
    dialect: undefined,
    principal: undefined,
    model: undefined,
    findings: [],
    shadowQuotas: [],
    fallback: undefined,
    lap(stage) {
      const nowMs = parts.clock.monotonicMs()
      stagesMs[stage] = nowMs - lapMs
      lapMs = nowMs
    },
    close(verdict) {
      const { dialect, principal, model, findings, shadowQuotas, fallback } = draft
      return {
        auditId,
        atEpochMs,
        request,
        dialect,
        principal,
        model,
        findings,
        shadowQuotas,
        fallback,
        policyGeneration: policy.generation,
        stagesMs,
        verdict,
      }
    },
  }
  return draft
}
