import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Admission } from '../src/admission.js'
import { systemClock } from '../src/clock.js'
import type { Clock } from '../src/clock.js'
import { createGenerationRates } from '../src/llm/generation-rate.js'
import { meter } from '../src/meter.js'
import type { Report } from '../src/meter.js'
import type { GuardedLedger } from '../src/quota/failover/guarded-ledger.js'
import { createLedger } from '../src/quota/ledgers.js'
import { createRedisLedger } from '../src/quota/redis/redis-ledger.js'
import { openStore } from '../src/store/store.js'
import { exampleAdmission } from './example-admission.js'
import { holdOf, quotaOf } from './quota/quotas.js'
import { startRedis } from './redis-server.js'
import type { RedisServer } from './redis-server.js'

let redis: RedisServer
beforeAll(async () => {
  redis = await startRedis()
})
afterAll(() => redis.stop())
beforeEach(() => redis.client.flushall())

const streamMs = 60_000

/** Of the clock that is wrong, against the right one: none, a little, almost the length of the stream, and more. */
const skewsMs = [0, -1000, 1000, 1 - streamMs, streamMs - 1, -3_600_000, 3_600_000]

/** A stream that was cut after a minute: what it has cost is by its time alone. */
const cut: Report = {
  reservationId: 'r',
  usage: {
    inputTokens: undefined,
    outputTokens: undefined,
    cachedTokens: undefined,
    cacheWriteTokens: undefined,
  },
  bytesSent: 0,
  durationMs: streamMs,
  endStatus: 0,
  attempts: 1,
  upstreamBytesSent: 300,
  upstreamBytesReceived: 1200,
  upstreamDurationMs: undefined,
}

const admission = exampleAdmission({ stream: true, outputTokens: 5000 })

/** 50 tokens a second. */
function learntRates() {
  const rates = createGenerationRates()
  for (let index = 0; index < 20; index += 1) {
    rates.observe(
      { model: admission.model, dialect: admission.dialect, stream: true },
      { outputTokens: 500, bytes: 5000, durationMs: 10_000, heldUp: false },
    )
  }
  return rates
}

/** Clocks of one machine: what one shows can be set, the other goes on as it does. */
function machine() {
  let [setMs, passedMs] = [0, 0]
  const clock: Clock = {
    nowEpochMs: () => Date.now() + passedMs + setMs,
    monotonicMs: () => performance.now() + passedMs,
  }
  return {
    clock,
    set: (byMs: number) => void (setMs += byMs),
    pass: (byMs: number) => void (passedMs += byMs),
  }
}

function ledgerOf(clock: Clock, kind: 'memory' | 'redis'): GuardedLedger<Admission> {
  const parts = { clock, random: Math.random, processId: 'p', heapBytes: 2 ** 30 }
  const { address } = redis
  return kind === 'memory'
    ? createLedger({ kind, maxPartitions: undefined }, parts)
    : createLedger(
        { kind, address, timeoutMs: 5000, maxPartitions: undefined, processes: 1 },
        parts,
      )
}

const asked = {
  id: 'r',
  idempotencyKey: 'k',
  holds: [holdOf(quotaOf({ unit: 'output_tokens', limit: 100_000 }), 5000)],
  context: admission,
  leaseMs: 1_860_000,
}

/** What the ledger makes of a report. */
async function ends(report: Report, ledger: GuardedLedger<Admission>, clock: Clock) {
  const ended = await meter(report, { ledger, rates: learntRates(), clock })
  await ledger.close()
  return ended?.end
}

/** A stream that this machine admits: its wall clock is set while the stream goes on. */
async function afterAStream(
  kind: 'memory' | 'redis',
  report: Report,
  { skewMs, heldMs }: { readonly skewMs: number; readonly heldMs: number },
) {
  const { clock, set, pass } = machine()
  const ledger = ledgerOf(clock, kind)
  await ledger.reserve(asked, clock.nowEpochMs())
  pass(heldMs)
  set(skewMs)
  return ends(report, ledger, clock)
}

/** One that another process admitted, so long ago by the clock of Redis, unless that was set back since. */
async function atAnother(
  report: Report,
  {
    skewMs = 0,
    heldMs,
    setBackMs = 0,
  }: { readonly skewMs?: number; readonly heldMs: number; readonly setBackMs?: number },
) {
  const store = openStore(redis.address, { clock: systemClock, random: Math.random })
  const options = { store, clock: systemClock, timeoutMs: 5000, moments: 'given' } as const
  const first = createRedisLedger<Admission>(options)
  await first.reserve(asked, Date.now() - heldMs + setBackMs)
  await first.close()
  const { clock, set } = machine()
  set(skewMs)
  return ends(report, ledgerOf(clock, 'redis'), clock)
}

describe.each(skewsMs)('a wall clock that is off by %i ms', (skewMs) => {
  const paths = [
    ['the memory ledger', afterAStream.bind(undefined, 'memory')],
    ['Redis, at the process that admitted it', afterAStream.bind(undefined, 'redis')],
    ['Redis, at another process', atAnother],
  ] as const

  test.each(paths)('makes no stream that was cut cheaper, with %s', async (_, afterwards) => {
    const end = await afterwards(cut, { skewMs, heldMs: streamMs })
    expect(end).toEqual({
      kind: 'estimated',
      inputTokens: admission.inputTokens,
      outputTokens: 3000,
    })
  })

  test.each(paths)('makes no error of an engine come early, with %s', async (_, afterwards) => {
    const failed = { ...cut, endStatus: 400 }
    expect(await afterwards(failed, { skewMs, heldMs: streamMs })).toMatchObject({
      kind: 'estimated',
    })
  })

  test.each(paths.slice(0, 2))('makes no slow upload dearer, with %s', async (_, afterwards) => {
    // Of the minute the body took all but some seconds.
    const refused = { ...cut, endStatus: 400 }
    expect(await afterwards(refused, { skewMs, heldMs: 4000 })).toEqual({ kind: 'released' })
  })
})

describe.each([0, 1000, streamMs - 1, streamMs + 1, 3_600_000])(
  'at another process than the one that admitted it, where the clock of Redis went back by %i ms',
  (setBackMs) => {
    test('a stream that was cut has lasted as Envoy says', async () => {
      const end = await atAnother(cut, { heldMs: streamMs, setBackMs })
      expect(end).toMatchObject({ outputTokens: 3000 })
    })

    test('a slow upload counts like a slow engine', async () => {
      expect(await atAnother(cut, { heldMs: 4000, setBackMs })).toMatchObject({
        outputTokens: 3000,
      })
    })
  },
)
