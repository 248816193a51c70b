import { describe, expect, test } from 'vitest'
import { denialStatus } from '../../src/denial.js'
import type { Reason } from '../../src/denial.js'
import { createLog } from '../../src/telemetry/log.js'
import { createMetrics } from '../../src/telemetry/metrics.js'
import type { Metrics } from '../../src/telemetry/metrics.js'
import { createRecorder } from '../../src/telemetry/record.js'
import { allowed, denied } from './sample-decisions.js'

interface Family {
  readonly name: string
  readonly help: string
  readonly kind: string
}

async function families(metrics: Metrics): Promise<readonly Family[]> {
  const text = await metrics.render()
  return [...text.matchAll(/^# HELP (\S+) (.*)\n# TYPE \S+ (\S+)$/gm)].map((match) => ({
    name: match[1] ?? '',
    help: match[2] ?? '',
    kind: match[3] ?? '',
  }))
}

async function series(metrics: Metrics): Promise<ReadonlyMap<string, number>> {
  const lines = (await metrics.render()).split('\n')
  const own = lines.filter((line) => line.startsWith('tollgate_'))
  return new Map(
    own.map((line) => {
      const at = line.lastIndexOf(' ')
      return [line.slice(0, at), Number(line.slice(at + 1))]
    }),
  )
}

describe('the metrics', () => {
  test('are these, and those of the process', async () => {
    const names = (await families(createMetrics())).map((family) => family.name)
    expect(names.filter((name) => name.startsWith('tollgate_'))).toEqual([
      'tollgate_decisions_total',
      'tollgate_decision_duration_seconds',
      'tollgate_stage_duration_seconds',
      'tollgate_tokens_total',
      'tollgate_quota_units_total',
      'tollgate_reservations_ended_total',
      'tollgate_accounting_completeness_ratio',
      'tollgate_quota_fallbacks_total',
      'tollgate_findings_total',
      'tollgate_reports_total',
      'tollgate_failures_total',
      'tollgate_audit_records_total',
      'tollgate_jwks_events_total',
      'tollgate_policy_loads_total',
      'tollgate_policy_info',
      'tollgate_ledger_info',
      'tollgate_reservations_open',
      'tollgate_partitions',
      'tollgate_ledger_processes',
      'tollgate_log_lines_dropped_total',
      'tollgate_log_waiting_bytes',
      'tollgate_rate_limit_hits_total',
      'tollgate_rate_limit_answers_total',
      'tollgate_rate_limit_unknown_domains_total',
      'tollgate_rate_limit_loads_total',
    ])
    expect(names).toContain('nodejs_eventloop_lag_p99_seconds')
    expect(names).toContain('process_resident_memory_bytes')
  })

  test('are named as Prometheus asks: counters in _total, durations in seconds, a sentence of help', async () => {
    const own = (await families(createMetrics())).filter(({ name }) => name.startsWith('tollgate_'))
    for (const { name, help, kind } of own) {
      expect(name).toMatch(/^[a-z][a-z0-9_]*$/)
      expect(name.endsWith('_total')).toBe(kind === 'counter')
      expect(name).not.toMatch(/_(ms|milliseconds|micros)(_|$)/)
      if (kind === 'histogram') expect(name).toMatch(/_seconds$/)
      expect(help).toMatch(/^[A-Z].{20,}\.$/)
    }
  })

  test('start at 0, every series of every closed list', async () => {
    const all = await series(createMetrics())
    // Of nothing, all is known.
    expect([...all].filter(([, value]) => value !== 0)).toEqual([
      ['tollgate_accounting_completeness_ratio', 1],
    ])
    for (const reason of Object.keys(denialStatus)) {
      for (const dialect of ['openai', 'anthropic', 'none']) {
        const labels = `decision="deny",reason="${reason}",dialect="${dialect}"`
        expect(all.get(`tollgate_decisions_total{${labels}}`)).toBe(0)
      }
    }
    for (const outcome of [
      'reserved',
      'settled',
      'released',
      'estimated',
      'unsettled',
      'refunded',
      'debt',
    ]) {
      expect(all.get(`tollgate_tokens_total{outcome="${outcome}"}`)).toBe(0)
    }
    expect(all.get('tollgate_findings_total{category="injection",action="block"}')).toBe(0)
    expect(all.get('tollgate_audit_records_total{result="failed"}')).toBe(0)
    expect(all.get('tollgate_reservations_ended_total{outcome="unsettled"}')).toBe(0)
    expect(all.get('tollgate_quota_fallbacks_total{why="full",answer="refused"}')).toBe(0)
    expect(all.get('tollgate_failures_total{operation="check",cause="ledger"}')).toBe(0)
  })

  test('count a decision once, with its durations in seconds', async () => {
    const metrics = createMetrics()
    metrics.countDecision({
      reason: 'quota_exhausted',
      dialect: 'anthropic',
      durationMs: 4,
      stagesMs: { count: 2 },
      findings: [{ category: 'secrets', action: 'flag' }],
    })
    const all = await series(metrics)
    const counted = [...all].filter(([name, value]) => value !== 0 && !name.includes('_bucket'))
    expect(Object.fromEntries(counted)).toEqual({
      'tollgate_decisions_total{decision="deny",reason="quota_exhausted",dialect="anthropic"}': 1,
      'tollgate_decision_duration_seconds_sum{decision="deny"}': 0.004,
      'tollgate_decision_duration_seconds_count{decision="deny"}': 1,
      'tollgate_stage_duration_seconds_sum{stage="count"}': 0.002,
      'tollgate_stage_duration_seconds_count{stage="count"}': 1,
      'tollgate_findings_total{category="secrets",action="flag"}': 1,
      tollgate_accounting_completeness_ratio: 1,
    })
    expect(all.get('tollgate_decision_duration_seconds_bucket{le="0.005",decision="deny"}')).toBe(1)
    expect(all.get('tollgate_decision_duration_seconds_bucket{le="0.0025",decision="deny"}')).toBe(
      0,
    )
  })

  test('tell a slow decision from one that Envoy gave up, after 5 s', async () => {
    const metrics = createMetrics()
    const sample = { reason: 'none', dialect: 'openai', stagesMs: {}, findings: [] } as const
    for (const durationMs of [4000, 6000]) metrics.countDecision({ ...sample, durationMs })
    const all = await series(metrics)
    const upTo = (le: string) =>
      all.get(`tollgate_decision_duration_seconds_bucket{le="${le}",decision="allow"}`)
    expect([upTo('2.5'), upTo('5'), upTo('+Inf')]).toEqual([0, 1, 2])
  })

  test('count what became of key sets, policies, reports and records', async () => {
    const metrics = createMetrics()
    metrics.countKeySetEvent('stale')
    metrics.countPolicyLoad('refused')
    metrics.countReport('unknown')
    metrics.countAuditRecord('failed')
    metrics.countFailure('report', 'ledger')
    const counted = [...(await series(metrics))].filter(([, value]) => value !== 0)
    expect(Object.fromEntries(counted)).toEqual({
      'tollgate_jwks_events_total{event="stale"}': 1,
      'tollgate_policy_loads_total{result="refused"}': 1,
      'tollgate_reports_total{outcome="unknown"}': 1,
      'tollgate_audit_records_total{result="failed"}': 1,
      'tollgate_failures_total{operation="report",cause="ledger"}': 1,
      tollgate_accounting_completeness_ratio: 1,
    })
  })

  test('show one policy generation at a time, the kind of ledger and its size', async () => {
    const metrics = createMetrics()
    metrics.setPolicy('aaaaaaaaaaaa', [])
    metrics.setPolicy('bbbbbbbbbbbb', [])
    metrics.setLedger('memory')
    metrics.setLedgerSize({ reservations: 3, partitions: 5, processes: 4 })
    const all = await series(metrics)
    const policies = [...all.keys()].filter((name) => name.startsWith('tollgate_policy_info'))
    expect(policies).toEqual(['tollgate_policy_info{generation="bbbbbbbbbbbb"}'])
    expect(all.get('tollgate_ledger_info{kind="memory"}')).toBe(1)
    expect(all.get('tollgate_reservations_open')).toBe(3)
    expect(all.get('tollgate_partitions')).toBe(5)
    expect(all.get('tollgate_ledger_processes')).toBe(4)
  })

  test('gain no series from 10,000 hostile callers, and are rendered small', async () => {
    const metrics = createMetrics()
    metrics.setPolicy('aaaaaaaaaaaa', [])
    metrics.setLedger('memory')
    const log = createLog({ level: 'fatal', destination: { write: () => undefined } })
    const clock = { nowEpochMs: () => 0, monotonicMs: () => 0 }
    const recorder = createRecorder({ log, metrics, audit: undefined, auditRequired: false, clock })
    const before = (await series(metrics)).size
    const reasons = Object.keys(denialStatus) as Reason[]
    for (let at = 0; at < 10_000; at += 1) {
      const hostile = `x"} 1\n# ${String(at)}`
      const { request, principal } = allowed()
      const changes = {
        auditId: hostile,
        model: hostile,
        policyGeneration: hostile,
        request: { ...request, path: hostile, method: hostile, requestId: hostile },
        principal: principal && { ...principal, tenant: hostile, subject: hostile },
        findings: [
          {
            category: 'prohibited',
            rule: hostile,
            provenance: 'user',
            segment: 0,
            span: [0, 1],
            score: 1,
            action: 'block',
          },
        ] as const,
      }
      const reason = reasons[at % reasons.length]
      await recorder.decision(
        reason === undefined || at % 2 === 0 ? allowed(changes) : denied(reason, changes),
        1,
      )
    }
    expect((await series(metrics)).size).toBe(before)
    expect(before).toBeLessThan(500)
    const text = await metrics.render()
    expect(text).not.toContain('# 1')
    expect(Buffer.byteLength(text)).toBeLessThan(100_000)
  })
})
