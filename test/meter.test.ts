import { describe, expect, test } from 'vitest'
import type { Admission } from '../src/admission.js'
import { createGenerationRates } from '../src/llm/generation-rate.js'
import type { GenerationRates } from '../src/llm/generation-rate.js'
import { endOf as endWithin, expireLeases, meter, withinAdmission } from '../src/meter.js'
import type { Report } from '../src/meter.js'
import type { End } from '../src/quota/end.js'
import { createMemoryLedger } from '../src/quota/memory/memory-ledger.js'
import type { Quota } from '../src/quota/quota.js'
import { exampleAdmission } from './example-admission.js'

const admission = exampleAdmission({ stream: true })

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
    upstreamDurationMs: 1900,
    ...changes,
  }
}

/** Rates that have learned 0.1 tokens per byte and 0.01 per millisecond. */
function learnedRates(stream: boolean): GenerationRates {
  const rates = createGenerationRates()
  for (let index = 0; index < 20; index += 1) {
    rates.observe(
      { model: 'llama', dialect: 'openai', stream },
      { outputTokens: 500, bytes: 5000, durationMs: 50_000, heldUp: false },
    )
  }
  return rates
}

const unlearned = createGenerationRates()

/** Long before any duration below: the report's own counts. */
const longHeldMs = 3_600_000

function endOf(
  report: Report,
  admission: Admission,
  rates: GenerationRates,
  heldMs = longHeldMs,
): End {
  return endWithin(withinAdmission(report, heldMs), admission, rates)
}

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

describe('a report of a model with prices', () => {
  const prices = {
    inputPicos: 2_000_000,
    cachedInputPicos: 500_000,
    cacheWritePicos: 2_500_000,
    outputPicos: 10_000_000,
  }
  const openai = exampleAdmission({ stream: true, prices })
  const anthropic = exampleAdmission({ stream: true, prices, dialect: 'anthropic' })
  const usage = { inputTokens: 90, outputTokens: 7, cachedTokens: 50, cacheWriteTokens: 6 }

  test('says what it has cost, by the prices of its admission and the cache of the engine', () => {
    expect(endOf(report({ usage }), openai, unlearned)).toEqual({
      kind: 'settled',
      inputTokens: 90,
      outputTokens: 7,
      costMicros: 34 * 2 + 50 * 0.5 + 6 * 2.5 + 7 * 10,
    })
    expect(endOf(report({ usage }), anthropic, unlearned)).toEqual({
      kind: 'settled',
      inputTokens: 146,
      outputTokens: 7,
      costMicros: 90 * 2 + 50 * 0.5 + 6 * 2.5 + 7 * 10,
    })
  })

  test('counts an input that was not reported in full, whatever it says of the cache', () => {
    const cacheOnly = { ...usage, inputTokens: undefined }
    expect(endOf(report({ usage: cacheOnly, attempts: 2 }), openai, unlearned)).toEqual({
      kind: 'estimated',
      inputTokens: 200,
      outputTokens: 7,
      costMicros: 200 * 2 + 7 * 10,
    })
  })

  test('costs nothing where nothing was generated', () => {
    const refused = report({ endStatus: 503 })
    expect(endOf(refused, openai, unlearned)).toEqual({ kind: 'released' })
  })

  test('ends a reservation of cost: what was not used is there again', async () => {
    const quota: Quota = {
      name: 'budget',
      unit: 'cost',
      limit: 1_000_000,
      window: { kind: 'calendar', period: 'month', timeZone: 'UTC' },
      by: ['tenant'],
      groups: [],
      models: [],
      shadow: false,
    }
    const atMs = Date.UTC(2026, 0, 1)
    const clock = { nowEpochMs: () => atMs, monotonicMs: () => atMs }
    const ledger = createMemoryLedger<Admission>()
    const holds = [{ quota, partitionKey: 'p', amount: 5200 }]
    const leaseMs = 60_000
    await ledger.reserve({ id: 'r', idempotencyKey: 'k', holds, context: openai, leaseMs }, atMs)
    await meter(report({ usage }), { ledger, rates: createGenerationRates(), clock })
    const [balance] = await ledger.balances(holds, atMs)
    expect(balance).toMatchObject({ spent: 178, remaining: 1_000_000 - 178 })
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

  test.each([
    ['input', { inputTokens: 90 }],
    ['output', { outputTokens: 7 }],
  ])('is never released, whatever the rest says: %s', (_, figure) => {
    const usage = { ...noUsage, ...figure }
    const refused = report({ usage, endStatus: 400, upstreamBytesSent: 0 })
    expect(endOf(refused, admission, unlearned)).toMatchObject({ kind: 'estimated' })
  })
})

test('figures whose sum or product no number can hold are the largest that it can', () => {
  const inputTokens = Number.MAX_SAFE_INTEGER
  const usage = { ...noUsage, inputTokens, cachedTokens: inputTokens, outputTokens: 7 }
  const anthropic = { ...admission, dialect: 'anthropic' }
  expect(endOf(report({ usage }), anthropic, unlearned)).toMatchObject({
    kind: 'settled',
    inputTokens,
  })
  for (const dialect of ['openai', 'of another release']) {
    const attempts = Number.MAX_SAFE_INTEGER
    expect(endOf(report({ attempts }), { ...admission, dialect }, unlearned)).toMatchObject({
      kind: 'estimated',
      inputTokens,
      outputTokens: inputTokens,
    })
  }
})

describe('a report without figures', () => {
  test.each([
    ['no engine got anything', { upstreamBytesSent: 0, endStatus: 503, upstreamBytesReceived: 0 }],
    ['no engine got anything, even after three tries', { upstreamBytesSent: 0, attempts: 3 }],
    ['the engine refused with 400', { endStatus: 400 }],
    ['the engine refused with 499', { endStatus: 499 }],
    ['the engine refused within five seconds', { endStatus: 400, durationMs: 5000 }],
    ['the engine itself answered 503', { endStatus: 503 }],
    ['the engine itself answered 503 after a long queue', { endStatus: 503, durationMs: 60_000 }],
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
    ['a 400 came later, perhaps after work', { endStatus: 400, durationMs: 5001 }],
    ['a 400 came nobody knows when', { endStatus: 400, durationMs: undefined }],
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

  test('estimates a late 4xx by its time, also where the request was not streamed', () => {
    const whole: Admission = { ...admission, stream: false }
    const late = report({ endStatus: 400, durationMs: 6000, bytesSent: 100 })
    expect(endOf(late, whole, learnedRates(false))).toMatchObject({
      kind: 'estimated',
      outputTokens: 60,
    })
    expect(endOf(late, whole, unlearned)).toMatchObject({ outputTokens: 500 })
    // Nothing shows that the engine has stopped: another was tried, or it said nothing.
    expect(endOf({ ...late, attempts: 2 }, whole, learnedRates(false))).toMatchObject({
      outputTokens: 1000,
    })
    const silent = { ...late, upstreamBytesReceived: 0 }
    expect(endOf(silent, whole, learnedRates(false))).toMatchObject({ outputTokens: 500 })
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

  test('charges the whole output while too few settled reports of the pair exist', () => {
    const rates = createGenerationRates()
    const pair = { model: 'llama', dialect: 'openai', stream: true } as const
    for (let index = 0; index < 19; index += 1) {
      rates.observe(pair, {
        outputTokens: 1000,
        bytes: 1_000_000,
        durationMs: 1_000_000,
        heldUp: false,
      })
    }
    expect(endOf(report({}), admission, rates)).toMatchObject({ outputTokens: 500 })
    rates.observe(pair, {
      outputTokens: 1000,
      bytes: 1_000_000,
      durationMs: 1_000_000,
      heldUp: false,
    })
    expect(endOf(report({}), admission, rates)).not.toMatchObject({ outputTokens: 500 })
  })

  test('lets the duration count once for each choice, as all decode at once, and the bytes once', () => {
    const four: Admission = { ...admission, choices: 4 }
    const stalled = report({ bytesSent: 0, durationMs: 3000 })
    expect(endOf(stalled, four, learnedRates(true))).toMatchObject({ outputTokens: 120 })
    const read = report({ bytesSent: 3000, durationMs: 3000 })
    expect(endOf(read, four, learnedRates(true))).toMatchObject({ outputTokens: 300 })
    const long = report({ bytesSent: 0, durationMs: 30_000 })
    expect(endOf(long, four, learnedRates(true))).toMatchObject({ outputTokens: 500 })
  })

  test('counts no time before the admission: nothing is generated then', () => {
    const uploadedSlowly = report({ bytesSent: 0, durationMs: 20_000 })
    expect(endOf(uploadedSlowly, admission, learnedRates(true), 3000)).toMatchObject({
      outputTokens: 30,
    })
  })

  test('counts the whole duration where the ledger has no other', () => {
    const stalled = report({ bytesSent: 0, durationMs: 3000 })
    const unlimited = withinAdmission(stalled, undefined)
    expect(endWithin(unlimited, admission, learnedRates(true))).toMatchObject({ outputTokens: 30 })
  })

  test('charges the whole output of a cut stream whose engine held tokens back', () => {
    const bundled: Admission = { ...admission, withholdsTokens: true }
    const cut = report({ bytesSent: 10, durationMs: 10 })
    expect(endOf(cut, bundled, learnedRates(true))).toMatchObject({ outputTokens: 500 })
    const usage = { ...noUsage, inputTokens: 90, outputTokens: 7 }
    expect(endOf(report({ usage }), bundled, learnedRates(true))).toMatchObject({
      kind: 'settled',
      outputTokens: 7,
    })
  })
})

describe('an output figure that may be less than what was generated', () => {
  const usage = { ...noUsage, inputTokens: 90, outputTokens: 7 }

  test('of a stream with running usage counts as the least: the estimate may be more', () => {
    const running: Admission = { ...admission, runningUsage: true }
    const cut = report({ usage, bytesSent: 1000, durationMs: 100 })
    expect(endOf(cut, running, learnedRates(true))).toMatchObject({
      kind: 'estimated',
      outputTokens: 100,
    })
    expect(endOf(cut, running, unlearned)).toMatchObject({ outputTokens: 500 })
    const told = report({ usage: { ...usage, outputTokens: 400 }, bytesSent: 1000, durationMs: 1 })
    expect(endOf(told, running, learnedRates(true))).toMatchObject({
      kind: 'estimated',
      outputTokens: 400,
    })
  })

  test('of a stream with running usage stands beside an input that is of one prompt of several', () => {
    const running: Admission = { ...admission, runningUsage: true }
    expect(endOf(report({ usage }), running, unlearned)).toMatchObject({ inputTokens: 100 })
    const more = { ...usage, inputTokens: 130 }
    expect(endOf(report({ usage: more }), running, unlearned)).toMatchObject({ inputTokens: 130 })
  })

  test('stands for all candidates where the engine may report only what it returned', () => {
    const best: Admission = { ...admission, choices: 16, candidatesPerChoice: 16 }
    expect(endOf(report({ usage }), best, unlearned)).toEqual({
      kind: 'estimated',
      inputTokens: 90,
      outputTokens: 112,
    })
    const outputOnly = { ...noUsage, outputTokens: 7 }
    expect(endOf(report({ usage: outputOnly }), best, unlearned)).toMatchObject({
      kind: 'estimated',
      outputTokens: 112,
    })
  })

  test('is multiplied up to the reservation, and counts in full beyond it', () => {
    const best: Admission = { ...admission, choices: 16, candidatesPerChoice: 16 }
    const most = report({ usage: { ...usage, outputTokens: 100 } })
    expect(endOf(most, best, unlearned)).toMatchObject({ outputTokens: 500 })
    const over = report({ usage: { ...usage, outputTokens: 501 } })
    expect(endOf(over, best, unlearned)).toMatchObject({ outputTokens: 501 })
  })
})

describe('a report of a dialect that only another release knows', () => {
  const theirs: Admission = { ...admission, dialect: 'responses' }
  const held = { kind: 'estimated', inputTokens: 100, outputTokens: 500 }

  test('comes to what was held per attempt, whatever it says that it used less', () => {
    const usage = { ...noUsage, inputTokens: 90, outputTokens: 7 }
    for (const changes of [{}, { usage }, { usage: { ...usage, outputTokens: undefined } }])
      expect(endOf(report(changes), theirs, learnedRates(true))).toEqual(held)
    expect(endOf(report({ usage, attempts: 2 }), theirs, unlearned)).toEqual({
      ...held,
      inputTokens: 200,
      outputTokens: 1000,
    })
  })

  test('comes to more where it says so', () => {
    const usage = { ...noUsage, inputTokens: 101, outputTokens: 501 }
    expect(endOf(report({ usage }), theirs, unlearned)).toEqual({
      ...held,
      inputTokens: 101,
      outputTokens: 501,
    })
  })

  test('costs what was held, whatever it says of the cache', () => {
    const prices = {
      inputPicos: 2_000_000,
      cachedInputPicos: 500_000,
      cacheWritePicos: 2_500_000,
      outputPicos: 10_000_000,
    }
    const usage = { inputTokens: 90, outputTokens: 7, cachedTokens: 50, cacheWriteTokens: 0 }
    expect(endOf(report({ usage }), { ...theirs, prices }, unlearned)).toEqual({
      ...held,
      costMicros: 100 * 2.5 + 500 * 10,
    })
  })

  test('is released where no engine got a byte', () => {
    expect(endOf(report({ upstreamBytesSent: 0 }), theirs, unlearned)).toEqual({ kind: 'released' })
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

  async function held(context = admission) {
    const clock = {
      now: Date.UTC(2026, 0, 1),
      nowEpochMs: () => clock.now,
      monotonicMs: () => clock.now,
    }
    const ledger = createMemoryLedger<Admission>()
    const rates = createGenerationRates()
    await ledger.reserve(
      { id: 'r', idempotencyKey: 'k', holds: [hold], context, leaseMs: 60_000 },
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

  test('ends a reservation of a dialect that only another release knows, once', async () => {
    const { parts, spent } = await held({ ...admission, dialect: 'responses' })
    const usage = { ...noUsage, inputTokens: 90, outputTokens: 10 }
    expect((await meter(report({ usage }), parts))?.ended.outcome).toBe('estimated')
    expect(await meter(report({ usage }), parts)).toBeUndefined()
    expect(await spent()).toMatchObject({ spent: 600, reserved: 0, debt: 0 })
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

  test('releases what the ledger gives back later than it should have', async () => {
    const { clock, parts } = await held()
    const [ended] = [await parts.ledger.abandon('r', clock.now)]
    const ledger = { ...parts.ledger, expire: () => Promise.resolve(ended ? [ended] : []) }
    const told = await expireLeases({ ...parts, ledger })
    expect(told.map((each) => [each.ended.outcome, each.end])).toEqual([
      ['released', { kind: 'released' }],
    ])
  })

  test('learns from settled reports that ended well, and from no others', async () => {
    const observed: unknown[] = []
    const rates: GenerationRates = {
      observe: (pair, sample) => observed.push([pair, sample]),
      estimate: () => undefined,
    }
    const usage = { ...noUsage, inputTokens: 90, outputTokens: 10 }
    const good = await held()
    good.clock.now += 60_000
    await meter(report({ usage }), { ...good.parts, rates })
    const failed = await held()
    await meter(report({ usage, endStatus: 500 }), { ...failed.parts, rates })
    const estimated = await held()
    await meter(report({}), { ...estimated.parts, rates })
    const swollen = await held({ ...admission, teachesRates: false })
    await meter(report({ usage }), { ...swollen.parts, rates })
    const best = await held({ ...admission, candidatesPerChoice: 2 })
    await meter(report({ usage }), { ...best.parts, rates })
    expect(observed).toEqual([
      [
        { model: 'llama', dialect: 'openai', stream: true },
        { outputTokens: 10, bytes: 1000, durationMs: 1900, heldUp: false },
      ],
    ])
  })

  test('learns from the engine how long it took, and says where the client may have held it up', async () => {
    const observed: unknown[] = []
    const rates: GenerationRates = {
      observe: (_, { bytes, durationMs, heldUp }) => observed.push([bytes, durationMs, heldUp]),
      estimate: () => undefined,
    }
    const usage = { ...noUsage, inputTokens: 90, outputTokens: 100 }
    const readSlowly = { usage, durationMs: 60_000, upstreamDurationMs: 1500 }
    for (const changes of [
      { ...readSlowly, bytesSent: 61_440 },
      { ...readSlowly, bytesSent: 61_441 },
      { ...readSlowly, upstreamDurationMs: undefined },
    ]) {
      await meter(report(changes), { ...(await held()).parts, rates })
    }
    expect(observed).toEqual([
      [61_440, 1500, false],
      [61_441, 1500, true],
      [1000, undefined, false],
    ])
  })

  test('estimates by the time since the admission where the upload took longer', async () => {
    const seen: unknown[] = []
    const rates: GenerationRates = {
      observe: () => undefined,
      estimate: (_, { durationMs }) => {
        seen.push(durationMs)
        return undefined
      },
    }
    const cut = await held()
    cut.clock.now += 800
    await meter(report({}), { ...cut.parts, rates })
    expect(seen).toEqual([800])
  })
})
