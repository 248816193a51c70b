import { isRepeat, reservedTokens } from '../admission.js'
import type { AuditLog, AuditRecord, LifecycleRecord } from '../audit/record.js'
import type { Decision } from '../decision.js'
import type { Clock } from '../clock.js'
import { isDenial } from '../denial.js'
import { AbandonedError, DependencyError, InvalidCallError } from '../errors.js'
import type { EndedReservation } from '../meter.js'
import {
  decisionRecord,
  endRecord,
  knownPath,
  lifecycleRecord,
  tokenOutcome,
} from './audit-records.js'
import type { Log } from './log.js'
import type { FailureCause, Metrics, Operation } from './metrics.js'

export interface RecorderParts {
  readonly log: Log
  readonly metrics: Metrics
  /** Undefined: the policy names no audit file. */
  readonly audit: AuditLog | undefined
  /** An allow is answered only after its record was written. */
  readonly auditRequired: boolean
  readonly clock: Clock
}

/** What happened, once for each of those who want to know: one log line, the metrics, one audit record. */
export interface Recorder {
  /**
   * With `auditRequired` it resolves when the record is written, and without at once. A denial stands whether
   * its record could be written or not: turning it into a failure would make it no stricter.
   *
   * @param durationMs from the arrival of the call
   * @throws DependencyError the decision is an allow, its record is required and could not be written
   */
  decision(decision: Decision, durationMs: number): Promise<void>
  /** A reservation ended. Never fails: it has ended, whether that could be recorded or not. */
  ended(reservation: EndedReservation): Promise<void>
  /** A report came; undefined: it ended nothing. */
  report(reservation: EndedReservation | undefined): void
  lifecycle(event: LifecycleRecord['event'], policyGeneration: string): Promise<void>
  /**
   * Something failed that is no decision.
   *
   * @param requestId of the request that it failed for, if for one
   */
  failure(operation: Operation, error: unknown, requestId?: string): void
  /** What is due once a second goes on failing, or no longer does. */
  upkeep(change: UpkeepChange): void
}

export type UpkeepChange =
  { readonly goesOn: true; readonly error: unknown } | { readonly goesOn: false }

export function createRecorder(parts: RecorderParts): Recorder {
  const { log, metrics, audit, clock } = parts

  /** @throws DependencyError it could not be written; counted already */
  async function append(record: AuditRecord): Promise<void> {
    if (audit === undefined) return
    try {
      await audit.append(record)
      metrics.countAuditRecord('written')
    } catch (error) {
      metrics.countAuditRecord('failed')
      log.error({ error, type: record.type }, 'audit record not written')
      throw error
    }
  }

  /** Where the record is not required nobody waits for it. */
  async function appendAnyway(record: AuditRecord): Promise<void> {
    const appended = append(record).catch(() => undefined)
    if (parts.auditRequired) await appended
  }

  return {
    async decision(decision, durationMs) {
      countDecision(metrics, decision, durationMs)
      countFallback(metrics, decision)
      logDecision(log, decision, durationMs)
      const record = decisionRecord(decision)
      if (parts.auditRequired && record.decision === 'allow') await append(record)
      else await appendAnyway(record)
    },

    async ended(reservation) {
      const outcome = tokenOutcome(reservation)
      const { ended, end } = reservation
      const usedTokens = (outcome.inputTokens ?? 0) + (outcome.outputTokens ?? 0)
      const unused = end === undefined || end.kind === 'released'
      metrics.countTokens(ended.outcome, unused ? outcome.reservedTokens : usedTokens)
      metrics.countTokens('refunded', outcome.refundedTokens)
      metrics.countTokens('debt', outcome.debtTokens)
      metrics.countEnded(ended)
      const { auditId, model, dialect, stream } = ended.reservation.context
      log.info(
        { auditId, model, dialect, stream, outcome: ended.outcome, late: ended.late, ...outcome },
        'reservation ended',
      )
      await appendAnyway(endRecord(reservation))
    },

    report(reservation) {
      metrics.countReport(reservation === undefined ? 'unknown' : reservation.ended.outcome)
    },

    async lifecycle(event, policyGeneration) {
      log.info({ event, policyGeneration }, 'lifecycle')
      await appendAnyway(lifecycleRecord(event, policyGeneration, clock.nowEpochMs()))
    },

    failure(operation, error, requestId) {
      const cause = causeOf(error)
      metrics.countFailure(operation, cause)
      // Envoy gives calls up all the time; that is no fault of anything here.
      if (cause === 'abandoned') log.debug({ operation, requestId, error }, 'given up')
      // Once a second while the store is away, or something in it cannot be ended; that it goes on is said once.
      else if (operation === 'expire' && cause === 'ledger')
        log.debug({ operation, error }, 'failed')
      else log.error({ operation, requestId, cause, error }, 'failed')
    },

    upkeep(change) {
      if (change.goesOn) {
        const { error } = change
        log.warn({ error }, 'some reservations cannot be ended or given back: it is tried again')
      } else {
        log.info('what is due is ended and given back again')
      }
    },
  }
}

function countDecision(metrics: Metrics, decision: Decision, durationMs: number): void {
  const { verdict, dialect, stagesMs, findings } = decision
  const reason = isDenial(verdict) ? verdict.reason : 'none'
  metrics.countDecision({ reason, dialect: dialect?.name, durationMs, stagesMs, findings })
  if (isDenial(verdict) || verdict.reservation === undefined) return
  const { admission, holds } = verdict.reservation
  if (isRepeat(admission, decision)) return
  metrics.countTokens('reserved', reservedTokens(admission))
  metrics.countReserved(holds)
}

function countFallback(metrics: Metrics, { verdict, fallback }: Decision): void {
  if (isDenial(verdict) && verdict.storeFailure !== undefined) {
    metrics.countFallback(verdict.storeFailure, 'refused')
  }
  if (fallback === undefined) return
  const { why, localQuotas, uncountedQuotas } = fallback
  if (localQuotas.length > 0) metrics.countFallback(why, 'local')
  if (uncountedQuotas.length > 0) metrics.countFallback(why, 'uncounted')
}

/** Without the caller's name: `auditId` leads to it in the audit record. */
function logDecision(log: Log, decision: Decision, durationMs: number): void {
  const { verdict, findings } = decision
  const denial = isDenial(verdict) ? verdict : undefined
  log.info(
    {
      auditId: decision.auditId,
      requestId: decision.request.requestId,
      path: knownPath(decision),
      dialect: decision.dialect?.name,
      model: decision.model,
      reason: denial?.reason,
      detail: denial?.detail,
      quota: denial?.quota,
      shadowQuotas: decision.shadowQuotas,
      ...fallbackFields(decision),
      findingCount: findings.length,
      policyGeneration: decision.policyGeneration,
      durationMs: Math.round(durationMs * 1000) / 1000,
    },
    denial === undefined ? 'allowed' : 'denied',
  )
}

/** Only where there is something to say. */
function fallbackFields({ fallback }: Decision) {
  if (fallback === undefined) return {}
  const { localQuotas, uncountedQuotas, fault } = fallback
  return { localQuotas, uncountedQuotas, ledgerFault: fault }
}

function causeOf(error: unknown): FailureCause {
  if (error instanceof DependencyError) return error.dependency
  if (error instanceof AbandonedError) return 'abandoned'
  if (error instanceof InvalidCallError) return 'invalid_call'
  return 'internal'
}
