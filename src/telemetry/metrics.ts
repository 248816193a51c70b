import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { Stage } from '../decision.js'
import { denialStatus } from '../denial.js'
import type { Reason } from '../denial.js'
import type { Dependency } from '../errors.js'
import type { Category } from '../inspection/finding.js'
import type { Action } from '../inspection/rules.js'
import { dialects as known } from '../llm/dialects.js'
import type { StoreFailure } from '../quota/failover/guarded-ledger.js'
import type { Ended, Hold, LedgerSize } from '../quota/ledger.js'
import type { LedgerKind } from '../quota/ledgers.js'
import type { Quota } from '../quota/quota.js'
import { SECOND_MS } from '../units.js'
import { createAccounting, createQuotaUnits } from './quota-metrics.js'
import { createRateLimitMetrics } from './rate-limit-metrics.js'
import type { RateLimitMetrics } from './rate-limit-metrics.js'

// Every label is one of a closed list: no caller or model can make a series, and a policy those of its quotas alone. All
// series exist from the start, so that a rate over one that has not happened yet is 0 and not nothing. Only the rules
// of rate limit files have names of their own, so many and no more (`rate-limit-metrics.ts`).

const reasons = Object.keys(denialStatus) as readonly Reason[]
const dialects: readonly string[] = [...known.map(({ name }) => name), 'none']
const stages = [
  'credential',
  'read',
  'inspect',
  'count',
  'reserve',
] as const satisfies readonly Stage[]
const categories = [
  'injection',
  'control_tokens',
  'secrets',
  'personal_data',
  'prohibited',
] as const satisfies readonly Category[]
const actions = ['block', 'flag', 'shadow', 'off'] as const satisfies readonly Action[]
const outcomes = [
  'settled',
  'released',
  'estimated',
  'unsettled',
] as const satisfies readonly Ended<unknown>['outcome'][]
const dependencies = [
  'identity_provider',
  'ledger',
  'audit',
  'inspection',
  'rate_limit_store',
] as const satisfies readonly Dependency[]
const tokenFates = ['reserved', ...outcomes, 'refunded', 'debt'] as const
const storeFailures = ['store', 'share', 'full'] as const satisfies readonly StoreFailure[]
const fallbackAnswers = ['refused', 'local', 'uncounted'] as const
const failureCauses = [...dependencies, 'abandoned', 'invalid_call', 'internal'] as const
const operations = ['check', 'report', 'give_back', 'expire', 'rate_limit'] as const
const auditResults = ['written', 'failed'] as const
const keySetEvents = ['fetched', 'failed', 'stale', 'refetched_unknown_kid'] as const
const policyLoads = ['loaded', 'refused'] as const

export type Outcome = (typeof outcomes)[number]
export type TokenFate = (typeof tokenFates)[number]
export type FailureCause = (typeof failureCauses)[number]
export type Operation = (typeof operations)[number]
export type KeySetEventKind = (typeof keySetEvents)[number]

/** What is counted of one decision. */
export interface DecisionSample {
  readonly reason: Reason | 'none'
  /** The name of one of the dialects. */
  readonly dialect: string | undefined
  readonly durationMs: number
  readonly stagesMs: Readonly<Partial<Record<Stage, number>>>
  readonly findings: readonly { readonly category: Category; readonly action: Action }[]
}

/** Every metric of the program; `render` writes them in Prometheus' text format. */
export interface Metrics {
  readonly contentType: string
  render(): Promise<string>
  countDecision(sample: DecisionSample): void
  /** Whole tokens, at least 0. */
  countTokens(fate: TokenFate, tokens: number): void
  /** What a new reservation holds of each quota. */
  countReserved(holds: readonly Hold[]): void
  /** What a reservation came to, by each of its quotas. */
  countEnded(ended: Ended<unknown>): void
  /** A quota could not be asked. */
  countFallback(why: StoreFailure, answer: (typeof fallbackAnswers)[number]): void
  countReport(outcome: Outcome | 'unknown'): void
  countFailure(operation: Operation, cause: FailureCause): void
  countAuditRecord(result: (typeof auditResults)[number]): void
  countKeySetEvent(event: KeySetEventKind): void
  countPolicyLoad(result: (typeof policyLoads)[number]): void
  /** Quotas that a policy no longer has lose their series. */
  setPolicy(generation: string, quotas: readonly Quota[]): void
  setLedger(kind: LedgerKind): void
  setLedgerSize(size: LedgerSize): void
  /** A line of the log that standard output had no room for. */
  countDroppedLogLine(): void
  setLogWaiting(bytes: number): void
  readonly rateLimit: RateLimitMetrics
}

/** From a tenth of what a cached small Check takes to the longest that Envoy waits. */
const durationBuckets = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5,
]

export function createMetrics(): Metrics {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })

  const decisions = new Counter({
    name: 'tollgate_decisions_total',
    help: 'Decisions on requests, by reason of the refusal (none: allowed) and by API dialect.',
    labelNames: ['decision', 'reason', 'dialect'] as const,
    registers,
  })
  const decisionSeconds = new Histogram({
    name: 'tollgate_decision_duration_seconds',
    help: 'Time from the arrival of a Check to its decision, before its audit record is written.',
    labelNames: ['decision'] as const,
    buckets: durationBuckets,
    registers,
  })
  const stageSeconds = new Histogram({
    name: 'tollgate_stage_duration_seconds',
    help: 'Time that one stage of a decision took.',
    labelNames: ['stage'] as const,
    buckets: durationBuckets,
    registers,
  })
  const tokens = new Counter({
    name: 'tollgate_tokens_total',
    help: 'Tokens by what became of them: reserved at admission; then settled, estimated (what was used), released or unsettled (what was reserved); refunded and debt are the difference to the reservation.',
    labelNames: ['outcome'] as const,
    registers,
  })
  const quotaUnits = createQuotaUnits(registry)
  const accounting = createAccounting(registry)
  const fallbacks = new Counter({
    name: 'tollgate_quota_fallbacks_total',
    help: 'Decisions for which a quota could not be asked, by why (store: its store failed; share: and the share of this process has no room; full: no room for another balance) and by what came of it.',
    labelNames: ['why', 'answer'] as const,
    registers,
  })
  const findings = new Counter({
    name: 'tollgate_findings_total',
    help: 'Findings of inspection, by category and by the action that the policy has for it.',
    labelNames: ['category', 'action'] as const,
    registers,
  })
  const reports = new Counter({
    name: 'tollgate_reports_total',
    help: 'Reports of finished streams by how they ended their reservation; unknown: no reservation, or it was ended already.',
    labelNames: ['outcome'] as const,
    registers,
  })
  const failures = new Counter({
    name: 'tollgate_failures_total',
    help: 'Calls and tasks that failed, by what failed them; a failure is never a decision.',
    labelNames: ['operation', 'cause'] as const,
    registers,
  })
  const auditRecords = new Counter({
    name: 'tollgate_audit_records_total',
    help: 'Audit records by whether they could be written.',
    labelNames: ['result'] as const,
    registers,
  })
  const keySets = new Counter({
    name: 'tollgate_jwks_events_total',
    help: 'What happened to the key sets of the identity providers.',
    labelNames: ['event'] as const,
    registers,
  })
  const policyLoadCount = new Counter({
    name: 'tollgate_policy_loads_total',
    help: 'Loads of the policy file after the start; refused: the last good one stays.',
    labelNames: ['result'] as const,
    registers,
  })
  const policyInfo = new Gauge({
    name: 'tollgate_policy_info',
    help: 'Always 1; the label is the generation of the policy in force.',
    labelNames: ['generation'] as const,
    registers,
  })
  const ledgerInfo = new Gauge({
    name: 'tollgate_ledger_info',
    help: 'Always 1; kind memory: limits hold per process, and a restart forgets what was spent.',
    labelNames: ['kind'] as const,
    registers,
  })
  const reservations = new Gauge({
    name: 'tollgate_reservations_open',
    help: 'Reservations that wait for their report.',
    registers,
  })
  const partitions = new Gauge({
    name: 'tollgate_partitions',
    help: 'Partitions of quotas that the ledger keeps a balance of.',
    registers,
  })
  const processes = new Gauge({
    name: 'tollgate_ledger_processes',
    help: 'Processes that share the store of the ledger, as seen last; 0 as long as this one would have no share without it.',
    registers,
  })
  const droppedLogLines = new Counter({
    name: 'tollgate_log_lines_dropped_total',
    help: 'Lines of the log that were dropped, because standard output takes none and the room for those that wait is full.',
    registers,
  })
  const logWaiting = new Gauge({
    name: 'tollgate_log_waiting_bytes',
    help: 'Bytes of the log that standard output has not taken yet.',
    registers,
  })

  for (const dialect of dialects) {
    decisions.inc({ decision: 'allow', reason: 'none', dialect }, 0)
    for (const reason of reasons) decisions.inc({ decision: 'deny', reason, dialect }, 0)
  }
  for (const decision of ['allow', 'deny']) decisionSeconds.zero({ decision })
  for (const stage of stages) stageSeconds.zero({ stage })
  for (const outcome of tokenFates) tokens.inc({ outcome }, 0)
  for (const why of storeFailures) {
    for (const answer of fallbackAnswers) fallbacks.inc({ why, answer }, 0)
  }
  for (const category of categories) {
    for (const action of actions) findings.inc({ category, action }, 0)
  }
  for (const outcome of [...outcomes, 'unknown']) reports.inc({ outcome }, 0)
  for (const operation of operations) {
    for (const cause of failureCauses) failures.inc({ operation, cause }, 0)
  }
  for (const result of auditResults) auditRecords.inc({ result }, 0)
  for (const event of keySetEvents) keySets.inc({ event }, 0)
  for (const result of policyLoads) policyLoadCount.inc({ result }, 0)

  return {
    contentType: registry.contentType,
    render: () => registry.metrics(),
    countDecision(sample) {
      const decision = sample.reason === 'none' ? 'allow' : 'deny'
      decisions.inc({ decision, reason: sample.reason, dialect: sample.dialect ?? 'none' })
      decisionSeconds.observe({ decision }, sample.durationMs / SECOND_MS)
      for (const stage of stages) {
        const stageMs = sample.stagesMs[stage]
        if (stageMs !== undefined) stageSeconds.observe({ stage }, stageMs / SECOND_MS)
      }
      for (const { category, action } of sample.findings) findings.inc({ category, action })
    },
    countTokens: (outcome, count) => tokens.inc({ outcome }, count),
    countReserved: (holds) => {
      quotaUnits.reserved(holds)
    },
    countEnded(ended) {
      quotaUnits.ended(ended)
      accounting.ended(ended)
    },
    countFallback: (why, answer) => {
      fallbacks.inc({ why, answer })
    },
    countReport: (outcome) => reports.inc({ outcome }),
    countFailure: (operation, cause) => failures.inc({ operation, cause }),
    countAuditRecord: (result) => auditRecords.inc({ result }),
    countKeySetEvent: (event) => keySets.inc({ event }),
    countPolicyLoad: (result) => policyLoadCount.inc({ result }),
    setPolicy(generation, quotas) {
      quotaUnits.follow(quotas)
      policyInfo.reset()
      policyInfo.set({ generation }, 1)
    },
    setLedger: (kind) => {
      ledgerInfo.set({ kind }, 1)
    },
    setLedgerSize(size) {
      reservations.set(size.reservations)
      partitions.set(size.partitions)
      processes.set(size.processes ?? 0)
    },
    countDroppedLogLine: () => {
      droppedLogLines.inc()
    },
    setLogWaiting: (bytes) => {
      logWaiting.set(bytes)
    },
    rateLimit: createRateLimitMetrics(registers),
  }
}
