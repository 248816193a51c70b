import { deny } from '../../src/denial.js'
import { beforeEach, describe, expect, test } from 'vitest'
import type { AuditLog, AuditRecord } from '../../src/audit/record.js'
import { AbandonedError, DependencyError, InvalidCallError } from '../../src/errors.js'
import { createLog } from '../../src/telemetry/log.js'
import { createMetrics } from '../../src/telemetry/metrics.js'
import type { Metrics } from '../../src/telemetry/metrics.js'
import { createRecorder } from '../../src/telemetry/record.js'
import type { Recorder } from '../../src/telemetry/record.js'
import { holdOf, quotaOf } from '../quota/quotas.js'
import { admission, allowed, denied, endedAs } from './sample-decisions.js'

/** An audit log whose writes end when the test says so. */
interface SlowAudit extends AuditLog {
  readonly records: AuditRecord[]
  readonly finish: (() => void)[]
  readonly fail: (() => void)[]
}

function slowAudit(): SlowAudit {
  const audit: SlowAudit = {
    records: [],
    finish: [],
    fail: [],
    append: (record) =>
      new Promise((resolve, reject) => {
        audit.records.push(record)
        audit.finish.push(resolve)
        audit.fail.push(() => reject(new DependencyError('audit', 'the disk is full')))
      }),
    close: async () => undefined,
  }
  return audit
}

let lines: Record<string, unknown>[]
let metrics: Metrics
let audit: SlowAudit

beforeEach(() => {
  lines = []
  metrics = createMetrics()
  audit = slowAudit()
})

function recorderWith(auditRequired: boolean, log: AuditLog | undefined = audit): Recorder {
  return createRecorder({
    log: createLog({
      level: 'debug',
      destination: {
        write: (line: string) => lines.push(JSON.parse(line) as Record<string, unknown>),
      },
    }),
    metrics,
    audit: log,
    auditRequired,
    clock: { nowEpochMs: () => Date.UTC(2026, 0, 1), monotonicMs: () => 0 },
  })
}

async function count(name: string): Promise<number> {
  const line = (await metrics.render()).split('\n').find((text) => text.startsWith(`${name} `))
  return Number(line?.slice(name.length + 1))
}

const written = 'tollgate_audit_records_total{result="written"}'
const failed = 'tollgate_audit_records_total{result="failed"}'

/** Has it resolved by now, after all that was ready to run did? */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false
  const done = (): void => {
    settled = true
  }
  promise.then(done, done)
  await new Promise((resolve) => setImmediate(resolve))
  return settled
}

describe('an allowed request', () => {
  test('is one log line, its metrics and one audit record', async () => {
    const recording = recorderWith(true).decision(allowed(), 1.23456)
    audit.finish[0]?.()
    await recording
    expect(lines).toEqual([
      {
        level: 'info',
        time: expect.any(String) as string,
        auditId: 'audit-1',
        requestId: 'request-1',
        path: '/v1/chat/completions',
        dialect: 'openai',
        model: 'llama-70b',
        reason: null,
        detail: null,
        quota: null,
        shadowQuotas: [],
        findingCount: 0,
        policyGeneration: '0123456789ab',
        durationMs: 1.235,
        msg: 'allowed',
      },
    ])
    expect(audit.records).toEqual([
      {
        type: 'decision',
        time: '2026-01-01T00:00:00.000Z',
        auditId: 'audit-1',
        requestId: 'request-1',
        issuer: 'https://idp.example',
        tenant: 'acme',
        subject: 'alice',
        client: 'app',
        apiKey: null,
        path: '/v1/chat/completions',
        peer: 'spiffe://example.org/app',
        context: { route: 'llm' },
        model: 'llama-70b',
        decision: 'allow',
        reason: null,
        detail: null,
        quota: null,
        shadowQuotas: [],
        localQuotas: [],
        uncountedQuotas: [],
        findings: [],
        findingCount: 0,
        reservedTokens: 300,
        pool: 'gpu-a',
        policyGeneration: '0123456789ab',
      },
    ])
    expect(
      await count('tollgate_decisions_total{decision="allow",reason="none",dialect="openai"}'),
    ).toBe(1)
    expect(await count('tollgate_tokens_total{outcome="reserved"}')).toBe(300)
    expect(await count(written)).toBe(1)
  })

  test('that its store could not be asked about says what held it instead, and why', async () => {
    const fallback = {
      why: 'store',
      fault: 'Redis answered OOM',
      localQuotas: ['user-minute'],
      uncountedQuotas: ['org-day'],
    } as const
    const recording = recorderWith(true).decision(allowed({ fallback }), 1)
    audit.finish[0]?.()
    await recording
    const { localQuotas, uncountedQuotas } = fallback
    expect(lines).toMatchObject([{ localQuotas, uncountedQuotas, ledgerFault: fallback.fault }])
    expect(audit.records).toMatchObject([{ decision: 'allow', localQuotas, uncountedQuotas }])
    expect(await count('tollgate_quota_fallbacks_total{why="store",answer="local"}')).toBe(1)
    expect(await count('tollgate_quota_fallbacks_total{why="store",answer="uncounted"}')).toBe(1)
    expect(await count('tollgate_quota_fallbacks_total{why="store",answer="refused"}')).toBe(0)
  })

  test('that its ledger had no room for passes uncounted, and is counted as such', async () => {
    const fallback = {
      why: 'full',
      fault: 'no room',
      localQuotas: [],
      uncountedQuotas: ['org-day'],
    } as const
    await recorderWith(false).decision(allowed({ fallback }), 1)
    expect(await count('tollgate_quota_fallbacks_total{why="full",answer="uncounted"}')).toBe(1)
    expect(await count('tollgate_quota_fallbacks_total{why="store",answer="uncounted"}')).toBe(0)
  })

  test('that a quota refused which could not be asked is counted by why', async () => {
    const verdict = deny('quota_store_unavailable', 'No.', { storeFailure: 'full' })
    await recorderWith(false).decision(allowed({ verdict }), 1)
    expect(await count('tollgate_quota_fallbacks_total{why="full",answer="refused"}')).toBe(1)
  })

  test('that repeats another of its stream reserved nothing, and names the one that did', async () => {
    const recorder = recorderWith(false)
    await recorder.decision(allowed(), 1)
    await recorder.decision(allowed({ auditId: 'audit-2' }), 1)
    expect(audit.records).toMatchObject([
      { auditId: 'audit-1', reservedTokens: 300, detail: null },
      { auditId: 'audit-2', reservedTokens: 0, detail: 'repeats audit-1' },
    ])
    expect(await count('tollgate_tokens_total{outcome="reserved"}')).toBe(300)
  })

  test('waits for its record where that is required', async () => {
    const recording = recorderWith(true).decision(allowed(), 1)
    expect(await isSettled(recording)).toBe(false)
    audit.finish[0]?.()
    await recording
  })

  test('fails when its record is required and could not be written', async () => {
    const recording = recorderWith(true).decision(allowed(), 1)
    audit.fail[0]?.()
    await expect(recording).rejects.toThrow('the disk is full')
    await expect(recording).rejects.toBeInstanceOf(DependencyError)
    expect(await count(failed)).toBe(1)
    expect(lines.at(-1)).toMatchObject({ level: 'error', msg: 'audit record not written' })
  })

  test('does not wait for a record that is not required, whose failure is counted', async () => {
    await recorderWith(false).decision(allowed(), 1)
    expect(audit.records.length).toBe(1)
    audit.fail[0]?.()
    await new Promise((resolve) => setImmediate(resolve))
    expect(await count(failed)).toBe(1)
  })

  test('needs no audit log where the policy names none', async () => {
    const recorder = createRecorder({
      log: createLog({ level: 'fatal', destination: { write: () => undefined } }),
      metrics,
      audit: undefined,
      auditRequired: false,
      clock: { nowEpochMs: () => 0, monotonicMs: () => 0 },
    })
    await recorder.decision(allowed(), 1)
    expect(await count(written)).toBe(0)
  })

  test('never shows its reservation id', async () => {
    const recording = recorderWith(true).decision(allowed(), 1)
    audit.finish[0]?.()
    await recording
    expect(JSON.stringify([lines, audit.records])).not.toContain('reservation-capability')
  })
})

describe('a refused request', () => {
  test('is recorded with its reason, and without a reservation or a pool', async () => {
    const recording = recorderWith(true).decision(denied('model_not_granted'), 1)
    audit.finish[0]?.()
    await recording
    expect(audit.records[0]).toMatchObject({
      decision: 'deny',
      reason: 'model_not_granted',
      detail: 'why',
      reservedTokens: null,
      pool: null,
    })
    expect(lines[0]).toMatchObject({ msg: 'denied', reason: 'model_not_granted', detail: 'why' })
    expect(
      await count(
        'tollgate_decisions_total{decision="deny",reason="model_not_granted",dialect="openai"}',
      ),
    ).toBe(1)
    expect(await count('tollgate_tokens_total{outcome="reserved"}')).toBe(0)
  })

  test('stays refused when its record could not be written: counted and logged', async () => {
    const recording = recorderWith(true).decision(denied('prompt_injection'), 1)
    audit.fail[0]?.()
    await expect(recording).resolves.toBeUndefined()
    expect(await count(failed)).toBe(1)
    expect(lines.at(-1)).toMatchObject({ msg: 'audit record not written' })
  })

  test('on a path that is none of ours is recorded without the path', async () => {
    const { request } = allowed()
    const unknown = { dialect: undefined, request: { ...request, path: '/v1/some-secret' } }
    await recorderWith(false).decision(denied('route_unknown', unknown), 1)
    await recorderWith(false).decision(
      denied('path_not_granted', { ...unknown, request: { ...request, path: '/v1/models' } }),
      1,
    )
    expect(audit.records).toMatchObject([{ path: null }, { path: '/v1/models' }])
  })

  test('with thousands of findings tells of some one by one, and how many there were', async () => {
    const finding = {
      category: 'secrets',
      rule: 'private_key',
      provenance: 'user',
      segment: 0,
      span: [0, 9],
      score: 1,
      action: 'block',
    } as const
    await recorderWith(false).decision(
      denied('secret_found', { findings: Array.from({ length: 5000 }, () => finding) }),
      1,
    )
    const [record] = audit.records
    if (record?.type !== 'decision') throw new Error('no decision was recorded')
    expect(record.findings).toEqual(Array.from({ length: 32 }, () => finding))
    expect(record.findingCount).toBe(5000)
    expect(await count('tollgate_findings_total{category="secrets",action="block"}')).toBe(5000)
  })
})

describe('the end of a reservation', () => {
  test.each([
    {
      end: { kind: 'settled', inputTokens: 90, outputTokens: 10 },
      fate: 'settled',
      counted: 100,
      refunded: 200,
      debt: 0,
    },
    {
      end: { kind: 'settled', inputTokens: 90, outputTokens: 500 },
      fate: 'settled',
      counted: 590,
      refunded: 0,
      debt: 290,
    },
    {
      end: { kind: 'estimated', inputTokens: 100, outputTokens: 200 },
      fate: 'estimated',
      counted: 300,
      refunded: 0,
      debt: 0,
    },
    { end: { kind: 'released' }, fate: 'released', counted: 300, refunded: 300, debt: 0 },
    { end: undefined, fate: 'unsettled', counted: 300, refunded: 0, debt: 0 },
  ] as const)('as $fate counts $counted tokens', async ({ end, fate, counted, refunded, debt }) => {
    const recording = recorderWith(true).ended(endedAs(end))
    audit.finish[0]?.()
    await recording
    expect(await count(`tollgate_tokens_total{outcome="${fate}"}`)).toBe(counted)
    expect(await count('tollgate_tokens_total{outcome="refunded"}')).toBe(refunded)
    expect(await count('tollgate_tokens_total{outcome="debt"}')).toBe(debt)
    expect(audit.records).toMatchObject([
      { type: 'end', auditId: 'audit-1', outcome: fate, reservedTokens: 300, debtTokens: debt },
    ])
    expect(JSON.stringify([lines, audit.records])).not.toContain('reservation-capability')
  })

  test('is joined to its decision by the audit id, and says what the report said', async () => {
    const report = {
      reservationId: 'reservation-capability',
      usage: {
        inputTokens: 90,
        outputTokens: 10,
        cachedTokens: undefined,
        cacheWriteTokens: undefined,
      },
      bytesSent: 100,
      durationMs: 1500,
      endStatus: 200,
      attempts: 2,
      upstreamBytesSent: 1,
      upstreamBytesReceived: 1,
      upstreamDurationMs: 900,
    }
    await recorderWith(false).ended({
      ...endedAs({ kind: 'settled', inputTokens: 90, outputTokens: 10 }, true),
      report,
    })
    expect(audit.records[0]).toEqual({
      type: 'end',
      time: '2026-01-01T00:00:00.000Z',
      auditId: 'audit-1',
      tenant: 'acme',
      subject: 'alice',
      client: 'app',
      apiKey: null,
      model: 'llama-70b',
      outcome: 'settled',
      late: true,
      reservedTokens: 300,
      inputTokens: 90,
      outputTokens: 10,
      debtTokens: 0,
      endStatus: 200,
      durationMs: 1500,
      attempts: 2,
    })
  })

  test('names the API key of its caller', async () => {
    const sample = endedAs({ kind: 'released' })
    const { reservation } = sample.ended
    const context = { ...reservation.context, apiKey: 'nightly' }
    const ended = { ...sample.ended, reservation: { ...reservation, context } }
    await recorderWith(false).ended({ ...sample, ended })
    expect(audit.records).toMatchObject([{ type: 'end', apiKey: 'nightly' }])
    expect(JSON.stringify(lines)).not.toContain('nightly')
  })

  test('never fails, since it has ended', async () => {
    const recording = recorderWith(true).ended(endedAs(undefined))
    audit.fail[0]?.()
    await expect(recording).resolves.toBeUndefined()
    expect(await count(failed)).toBe(1)
  })
})

describe('a reservation from its decision to its end', () => {
  const minute = quotaOf({ name: 'minute', limit: 1000 })
  const gone = quotaOf({ name: 'gone', limit: 1000 })
  const holds = [holdOf(minute, 300), holdOf(gone, 300)]
  const verdict = { ...allowed().verdict, reservation: { id: 'a', carrier: 'a', admission, holds } }
  const units = (outcome: string): Promise<number> =>
    count(`tollgate_quota_units_total{quota="minute",unit="tokens",outcome="${outcome}"}`)
  const completeness = (): Promise<number> => count('tollgate_accounting_completeness_ratio')
  const endings = (outcome: string): Promise<number> =>
    count(`tollgate_reservations_ended_total{outcome="${outcome}"}`)

  /** As the ledger tells it: 100 of the 300 were used. */
  function ended(late = false) {
    const sample = endedAs({ kind: 'settled', inputTokens: 90, outputTokens: 10 }, late)
    const reservation = { ...sample.ended.reservation, holds }
    const charges = holds.map(() => ({ actual: 100, debt: 0 }))
    return { ...sample, ended: { ...sample.ended, reservation, charges } }
  }

  test('counts what it takes of each quota of the policy in force, and of no other', async () => {
    metrics.setPolicy('0123456789ab', [minute])
    const recorder = recorderWith(false)
    await recorder.decision(allowed({ verdict }), 1)
    expect([await units('reserved'), await units('settled'), await units('refunded')]).toEqual([
      300, 0, 0,
    ])
    await recorder.ended(ended())
    expect([await units('reserved'), await units('settled'), await units('refunded')]).toEqual([
      300, 100, 200,
    ])
    expect(await metrics.render()).not.toContain('quota="gone"')
  })

  test('whose Check is repeated takes nothing once more', async () => {
    metrics.setPolicy('0123456789ab', [minute])
    const recorder = recorderWith(false)
    const again = { auditId: 'audit-2', verdict }
    await recorder.decision(allowed(again), 1)
    expect(await units('reserved')).toBe(0)
  })

  test('is one of those that ended, and of those that were settled exactly', async () => {
    const recorder = recorderWith(false)
    expect(await completeness()).toBe(1)
    await recorder.ended(endedAs(undefined))
    expect([await completeness(), await endings('unsettled')]).toEqual([0, 1])
    await recorder.ended(ended())
    expect([await completeness(), await endings('settled')]).toEqual([0.5, 1])
    // The report of the first came after all.
    await recorder.ended(ended(true))
    expect([await completeness(), await endings('settled')]).toEqual([1, 2])
  })
})

describe('everything else', () => {
  test('a report counts by what it ended', async () => {
    const recorder = recorderWith(false)
    recorder.report(undefined)
    recorder.report(endedAs({ kind: 'released' }))
    expect(await count('tollgate_reports_total{outcome="unknown"}')).toBe(1)
    expect(await count('tollgate_reports_total{outcome="released"}')).toBe(1)
  })

  test('a lifecycle event is logged and recorded', async () => {
    await recorderWith(false).lifecycle('policy_loaded', '0123456789ab')
    expect(audit.records).toEqual([
      {
        type: 'lifecycle',
        time: '2026-01-01T00:00:00.000Z',
        event: 'policy_loaded',
        policyGeneration: '0123456789ab',
      },
    ])
    expect(lines[0]).toMatchObject({ event: 'policy_loaded', msg: 'lifecycle' })
  })

  test.each([
    [new DependencyError('identity_provider', 'no keys'), 'identity_provider', 'error'],
    [new AbandonedError('given up'), 'abandoned', 'debug'],
    [new InvalidCallError('invalid_argument', 'wrong domain'), 'invalid_call', 'error'],
    [new TypeError('x'), 'internal', 'error'],
    ['no error at all', 'internal', 'error'],
  ])('a failure counts by its cause: %s', async (error, cause, level) => {
    recorderWith(false).failure('check', error, 'request-1')
    expect(await count(`tollgate_failures_total{operation="check",cause="${cause}"}`)).toBe(1)
    expect(lines[0]).toMatchObject({ level, requestId: 'request-1' })
  })

  test('that leases cannot be ended while the ledger is away is counted each time, and said by whoever lost it', async () => {
    recorderWith(false).failure('expire', new DependencyError('ledger', 'no connection'))
    expect(await count('tollgate_failures_total{operation="expire",cause="ledger"}')).toBe(1)
    expect(lines[0]).toMatchObject({ level: 'debug' })
  })

  test('that it goes on, or is over, is said in the log', async () => {
    const recorder = recorderWith(false)
    recorder.upkeep({ goesOn: true, error: new DependencyError('ledger', 'no answer') })
    recorder.upkeep({ goesOn: false })
    expect(lines).toMatchObject([
      { level: 'warn', error: { message: 'no answer' } },
      { level: 'info' },
    ])
  })
})
