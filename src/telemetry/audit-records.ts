import { isRepeat, reservedTokens } from '../admission.js'
import type { AuditFinding, DecisionRecord, EndRecord, LifecycleRecord } from '../audit/record.js'
import type { Decision } from '../decision.js'
import type { Finding } from '../inspection/finding.js'
import type { Reason } from '../denial.js'
import { isDenial } from '../denial.js'
import type { EndedReservation } from '../meter.js'

/** A prompt can be made of findings; so many are told one by one, `findingCount` tells of all. */
const MAX_FINDINGS = 32

/** Refusals before the path was looked up: what stands in it then is any text of a stranger. */
const beforeRouting: ReadonlySet<Reason> = new Set([
  'path_invalid',
  'headers_invalid',
  'body_too_large',
  'route_unknown',
] satisfies Reason[])

/** The path, if it is one of Tollgate's own; any other could hold a credential. */
export function knownPath(decision: Decision): string | null {
  const { verdict, dialect, request } = decision
  const unknown = dialect === undefined && isDenial(verdict) && beforeRouting.has(verdict.reason)
  return unknown ? null : request.path
}

export function decisionRecord(decision: Decision): DecisionRecord {
  const { principal, verdict } = decision
  const denial = isDenial(verdict) ? verdict : undefined
  const admission = isDenial(verdict) ? undefined : verdict.reservation?.admission
  const repeats = admission !== undefined && isRepeat(admission, decision)
  return {
    type: 'decision',
    time: timeOf(decision.atEpochMs),
    auditId: decision.auditId,
    requestId: decision.request.requestId ?? null,
    issuer: principal?.issuer ?? null,
    tenant: principal?.tenant ?? null,
    subject: principal?.subject ?? null,
    client: principal?.client ?? null,
    apiKey: principal?.apiKey ?? null,
    path: knownPath(decision),
    peer: decision.request.peer === '' ? null : decision.request.peer,
    context: decision.request.context,
    model: decision.model ?? null,
    decision: denial === undefined ? 'allow' : 'deny',
    reason: denial?.reason ?? null,
    detail: repeats ? `repeats ${admission.auditId}` : (denial?.detail ?? null),
    quota: denial?.quota ?? null,
    shadowQuotas: decision.shadowQuotas,
    localQuotas: decision.fallback?.localQuotas ?? [],
    uncountedQuotas: decision.fallback?.uncountedQuotas ?? [],
    findings: decision.findings.slice(0, MAX_FINDINGS).map(findingRecord),
    findingCount: decision.findings.length,
    reservedTokens: admission === undefined ? null : repeats ? 0 : reservedTokens(admission),
    pool: isDenial(verdict) ? null : verdict.pool,
    policyGeneration: decision.policyGeneration,
  }
}

function findingRecord(finding: Finding): AuditFinding {
  const { category, rule, provenance, segment, span, score, action } = finding
  return { category, rule, provenance, segment, span, score, action }
}

/** What a reservation came to: `actualTokens` is what was used as far as anybody knows, or what was reserved. */
export interface TokenOutcome {
  readonly reservedTokens: number
  readonly inputTokens: number | null
  readonly outputTokens: number | null
  readonly refundedTokens: number
  readonly debtTokens: number
}

export function tokenOutcome({ ended, end }: EndedReservation): TokenOutcome {
  const reserved = reservedTokens(ended.reservation.context)
  if (end === undefined || end.kind === 'released') {
    const nothing = { inputTokens: null, outputTokens: null, debtTokens: 0 }
    return {
      reservedTokens: reserved,
      ...nothing,
      refundedTokens: end === undefined ? 0 : reserved,
    }
  }
  const { inputTokens, outputTokens } = end
  const actual = inputTokens + outputTokens
  return {
    reservedTokens: reserved,
    inputTokens,
    outputTokens,
    refundedTokens: Math.max(0, reserved - actual),
    debtTokens: Math.max(0, actual - reserved),
  }
}

export function endRecord(reservation: EndedReservation): EndRecord {
  const { ended, report } = reservation
  const { auditId, tenant, subject, client, apiKey, model } = ended.reservation.context
  const outcome = tokenOutcome(reservation)
  return {
    type: 'end',
    time: timeOf(reservation.atEpochMs),
    auditId,
    tenant,
    subject,
    client,
    apiKey: apiKey ?? null,
    model,
    outcome: ended.outcome,
    late: ended.late,
    reservedTokens: outcome.reservedTokens,
    inputTokens: outcome.inputTokens,
    outputTokens: outcome.outputTokens,
    debtTokens: outcome.debtTokens,
    endStatus: report?.endStatus ?? null,
    durationMs: report?.durationMs ?? null,
    attempts: report?.attempts ?? null,
  }
}

export function lifecycleRecord(
  event: LifecycleRecord['event'],
  policyGeneration: string,
  atEpochMs: number,
): LifecycleRecord {
  return { type: 'lifecycle', time: timeOf(atEpochMs), event, policyGeneration }
}

function timeOf(epochMs: number): string {
  return new Date(epochMs).toISOString()
}
