import { describe, expect, test } from 'vitest'
import type { Admission } from '../src/admission.js'
import { createGenerationRates } from '../src/llm/generation-rate.js'
import type { GenerationRates } from '../src/llm/generation-rate.js'
import { endOf, expireLeases, meter } from '../src/meter.js'
import type { Report } from '../src/meter.js'
import { createMemoryLedger } from '../src/quota/memory-ledger.js'
import type { Quota } from '../src/quota/quota.js'

const admission: Admission = {
  auditId: 'audit-1',
  tenant: 'acme',
  subject: 'alice',
  client: null,
  model: 'llama',
  dialect: 'openai',
  stream: true,
  stopsOnDisconnect: false,
  failsLate: false,
  inputTokens: 100,
  outputTokens: 500,
}

const noUsage = {
  inputTokens: undefined,
  outputTokens: undefined,
  cachedTokens: undefined,
  cacheWriteTokens: undefined,
}

/** A report of a stream that reached an engine and got an answer. */
function report(changes: Partial<Report>): Report {
  return {
    reservationId: 'r',
    usage: noUsage,
    bytesSent: 1000,
    durationMs: 2000,
    endStatus: 200,
    attempts: 1,
    upstreamBytesSent: 300,
    upstreamBytesReceived: 1200,
    ...changes,
  }
}

/** Rates that have learned 0.1 tokens per byte and 0.01 per millisecond. */
function learnedRates(stream: boolean): GenerationRates {
  const rates = createGenerationRates()
  for (let index = 0; index < 20; index += 1) {
    rates.observe(
      { model: 'llama', dialect: 'openai', stream },
      { outputTokens: 100, bytes: 1000, durationMs: 10_000 },
    )
  }
  return rates
}

const unlearned = createGenerationRates()

describe('a report with both figures', () => {
  test('settles to them', () => {
    const usage = { ...noUsage, inputTokens: 90, outputTokens: 7 }
    expect(endOf(report({ usage }), admission, unlearned)).toEqual({
      kind: 'settled',
      inputTokens: 90,
      outputTokens: 7,
    })
  })

  test('counts cached tokens within the input for OpenAI, on top of it for Anthropic', () => {
    const usage = { inputTokens: 90, outputTokens: 7, cachedTokens: 50, cacheWriteTokens: 5 }
    expect(endOf(report({ usage }), admission, unlearned)).toMatchObject({ inputTokens: 90 })
    const anthropic: Admission = { ...admission, dialect: 'anthropic' }
    expect(endOf(report({ usage }), anthropic, unlearned)).toMatchObject({ inputTokens: 145 })
  })

  test('settles to zero as well', () => {
    const usage = { ...noUsage, inputTokens: 0, outputTokens: 0 }
    expect(endOf(report({ usage }), admission, unlearned)).toMatchObject({ kind: 'settled' })
  })
})

describe('a report with one figure', () => {
  test('takes the input as exact and estimates the output', () => {
    const usage = { ...noUsage, inputTokens: 90 }
    expect(endOf(report({ usage }), admission, unlearned)).toEqual({
      kind: 'estimated',
      inputTokens: 90,
      outputTokens: 500,
    })
  })

  test('takes the output as exact and the input in full per attempt', () => {
    const usage = { ...noUsage, outputTokens: 7 }
    expect(endOf(report({ usage, attempts: 2 }), admission, unlearned)).toEqual({
      kind: 'estimated',
      inputTokens: 200,
      outputTokens: 7,
    })
  })

  test('is never released, whatever the rest says', () => {
    const usage = { ...noUsage, inputTokens: 90 }
    const refused = report({ usage, endStatus: 400, upstreamBytesSent: 0 })
    expect(endOf(refused, admission, unlearned)).toMatchObject({ kind: 'estimated' })
  })
})

describe('a report without figures', () => {
  test.each([
    ['no engine got anything', { upstreamBytesSent: 0, endStatus: 503, upstreamBytesReceived: 0 }],
    ['no engine got anything, even after three tries', { upstreamBytesSent: 0, attempts: 3 }],
    ['the engine refused with 400', { endStatus: 400 }],
    ['the engine refused with 499', { endStatus: 499 }],
    ['the engine itself answered 503', { endStatus: 503 }],
  ] as const)('releases all of it when %s', (_name, changes) => {
    expect(endOf(report(changes), admission, unlearned)).toEqual({ kind: 'released' })
  })

  test.each([
    ['the status is 200', {}],
    ['the client left before a status', { endStatus: 0, bytesSent: 0 }],
    ['the engine failed with 500', { endStatus: 500 }],
    ['the engine took too long', { endStatus: 504 }],
    ['a 503 came without a byte from the engine', { endStatus: 503, upstreamBytesReceived: 0 }],
    ['a 400 came after a second attempt', { endStatus: 400, attempts: 2 }],
    ['the attempts are missing', { endStatus: 400, attempts: undefined }],
    ['the bytes received are missing', { endStatus: 400, upstreamBytesReceived: undefined }],
    ['the bytes sent are missing', { endStatus: 200, upstreamBytesSent: undefined }],
    ['the status is missing', { endStatus: undefined }],
    ['the status is below 400', { endStatus: 399 }],
    [
      'everything is missing',
      {
        endStatus: undefined,
        attempts: undefined,
        upstreamBytesSent: undefined,
        upstreamBytesReceived: undefined,
        bytesSent: undefined,
        durationMs: undefined,
      },
    ],
  ] as const)('never releases when %s', (_name, changes) => {
    expect(endOf(report(changes), admission, unlearned).kind).toBe('estimated')
  })

  test('releases no 4xx of an engine that may send it after it has generated, but its 503', () => {
    const late: Admission = { ...admission, failsLate: true }
    expect(endOf(report({ endStatus: 400 }), late, unlearned)).toMatchObject({
      kind: 'estimated',
      outputTokens: 500,
    })
    expect(endOf(report({ endStatus: 503 }), late, unlearned).kind).toBe('released')
    expect(endOf(report({ upstreamBytesSent: 0 }), late, unlearned).kind).toBe('released')
  })

  test('charges input and output once per attempt', () => {
    expect(endOf(report({ endStatus: 504, attempts: 3 }), admission, unlearned)).toEqual({
      kind: 'estimated',
      inputTokens: 300,
      outputTokens: 1500,
    })
  })

  test.each([0, undefined])('charges at least one attempt where Envoy says %s', (attempts) => {
    const left = report({ endStatus: 0, attempts, upstreamBytesSent: undefined })
    expect(endOf(left, admission, unlearned)).toEqual({
      kind: 'estimated',
      inputTokens: 100,
      outputTokens: 500,
    })
  })

  test.each(['bytesSent', 'durationMs'] as const)(
    'charges the whole output of a stream whose %s is missing: nothing bounds it',
    (figure) => {
      const blind = report({ bytesSent: 10, durationMs: 10, [figure]: undefined })
      expect(endOf(blind, admission, learnedRates(true))).toMatchObject({ outputTokens: 500 })
    },
  )

  test('charges the whole output of a request that was not streamed, however soon its client left', () => {
    const whole: Admission = { ...admission, stream: false }
    const left = report({ endStatus: 0, bytesSent: 0, durationMs: 1 })
    expect(endOf(left, whole, learnedRates(false))).toMatchObject({ outputTokens: 500 })
  })

  test('estimates one whose engine stops with its client by the duration', () => {
    const stops: Admission = { ...admission, stream: false, stopsOnDisconnect: true }
    const left = report({ endStatus: 0, bytesSent: 0, durationMs: 3000 })
    expect(endOf(left, stops, learnedRates(false))).toMatchObject({ outputTokens: 30 })
  })

  test('estimates a stream by the larger of its bytes and its duration', () => {
    const byBytes = endOf(
      report({ bytesSent: 1000, durationMs: 100 }),
      admission,
      learnedRates(true),
    )
    expect(byBytes).toMatchObject({ outputTokens: 100 })
    const byTime = endOf(
      report({ bytesSent: 10, durationMs: 20_000 }),
      admission,
      learnedRates(true),
    )
    expect(byTime).toMatchObject({ outputTokens: 200 })
  })

  test('never estimates more than the reservation per attempt', () => {
    const long = report({ bytesSent: 1_000_000 })
    expect(endOf(long, admission, learnedRates(true))).toMatchObject({ outputTokens: 500 })
    expect(endOf({ ...long, attempts: 2 }, admission, learnedRates(true))).toMatchObject({
      outputTokens: 1000,
    })
  })

  test('charges the whole output while fewer than 20 settled reports of the pair exist', () => {
    const rates = createGenerationRates()
    const pair = { model: 'llama', dialect: 'openai', stream: true } as const
    for (let index = 0; index < 19; index += 1) {
      rates.observe(pair, { outputTokens: 1, bytes: 1000, durationMs: 1000 })
    }
    expect(endOf(report({}), admission, rates)).toMatchObject({ outputTokens: 500 })
    rates.observe(pair, { outputTokens: 1, bytes: 1000, durationMs: 1000 })
    expect(endOf(report({}), admission, rates)).not.toMatchObject({ outputTokens: 500 })
  })
})

describe('the ledger under the meter', () => {
  const quota: Quota = {
    name: 'day',
    unit: 'tokens',
    limit: 10_000,
    window: { kind: 'calendar', period: 'day', timeZone: 'UTC' },
    by: ['tenant'],
    groups: [],
    models: [],
    shadow: false,
  }
  const hold = { quota, partitionKey: 'p', amount: 600 }

  async function held() {
    const clock = {
      now: Date.UTC(2026, 0, 1),
      nowEpochMs: () => clock.now,
      monotonicMs: () => clock.now,
    }
    const ledger = createMemoryLedger<Admission>()
    const rates = createGenerationRates()
    await ledger.reserve(
      { id: 'r', idempotencyKey: 'k', holds: [hold], context: admission, leaseMs: 60_000 },
      clock.now,
    )
    const spent = async () => (await ledger.balances([hold], clock.now))[0]
    return { clock, parts: { ledger, rates, clock }, spent }
  }

  test('ends a reservation once: a repeated report changes nothing', async () => {
    const { parts, spent } = await held()
    const usage = { ...noUsage, inputTokens: 90, outputTokens: 10 }
    const first = await meter(report({ usage }), parts)
    expect(first?.ended.outcome).toBe('settled')
    expect(await meter(report({ usage }), parts)).toBeUndefined()
    expect(await spent()).toMatchObject({ spent: 100, reserved: 0, debt: 0 })
  })

  test('changes nothing for an unknown id', async () => {
    const { parts, spent } = await held()
    expect(await meter(report({ reservationId: 'other' }), parts)).toBeUndefined()
    expect(await spent()).toMatchObject({ spent: 0, reserved: 600 })
  })

  test('keeps all of it when the lease runs out, and a late report still settles it, once', async () => {
    const { clock, parts, spent } = await held()
    clock.now += 60_001
    const expired = await expireLeases(parts)
    expect(expired.map(({ ended, end }) => [ended.outcome, end])).toEqual([
      ['unsettled', undefined],
    ])
    expect(await spent()).toMatchObject({ spent: 600, reserved: 0 })
    const usage = { ...noUsage, inputTokens: 90, outputTokens: 10 }
    const late = await meter(report({ usage }), parts)
    expect(late?.ended).toMatchObject({ outcome: 'settled', late: true })
    expect(await spent()).toMatchObject({ spent: 100 })
    expect(await meter(report({ usage }), parts)).toBeUndefined()
  })

  test('learns from settled reports that ended well, and from no others', async () => {
    const observed: unknown[] = []
    const rates: GenerationRates = {
      observe: (pair, sample) => observed.push([pair, sample]),
      estimate: () => undefined,
    }
    const usage = { ...noUsage, inputTokens: 90, outputTokens: 10 }
    const good = await held()
    await meter(report({ usage }), { ...good.parts, rates })
    const failed = await held()
    await meter(report({ usage, endStatus: 500 }), { ...failed.parts, rates })
    const estimated = await held()
    await meter(report({}), { ...estimated.parts, rates })
    expect(observed).toEqual([
      [
        { model: 'llama', dialect: 'openai', stream: true },
        { outputTokens: 10, bytes: 1000, durationMs: 2000 },
      ],
    ])
  })
})
