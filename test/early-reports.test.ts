import { beforeEach, describe, expect, test } from 'vitest'
import type { Admission } from '../src/admission.js'
import { systemClock } from '../src/clock.js'
import { systemTimers } from '../src/config/follow.js'
import { createEarlyReports } from '../src/early-reports.js'
import type { EarlyReports } from '../src/early-reports.js'
import { ComingError, DependencyError, UndecidedError } from '../src/errors.js'
import { createGenerationRates } from '../src/llm/generation-rate.js'
import { meter } from '../src/meter.js'
import type { EndedReservation, Report, ReportTries } from '../src/meter.js'
import type { Ledger } from '../src/quota/ledger.js'
import { createMemoryLedger } from '../src/quota/memory/memory-ledger.js'
import { createRedisLedger } from '../src/quota/redis/redis-ledger.js'
import { createSlicedLedger } from '../src/quota/slices/sliced-ledger.js'
import { openStore, ScriptError } from '../src/store/store.js'
import { exampleAdmission } from './example-admission.js'
import { holdOf, quotaOf } from './quota/quotas.js'
import { startRedis } from './redis-server.js'
import { until } from './until.js'

const admission = exampleAdmission()

function reportOf(reservationId: string): Report {
  return {
    reservationId,
    usage: {
      inputTokens: 10,
      outputTokens: 1,
      cachedTokens: undefined,
      cacheWriteTokens: undefined,
    },
    bytesSent: 100,
    durationMs: 5,
    endStatus: 200,
    attempts: 1,
    upstreamBytesSent: 300,
    upstreamBytesReceived: 100,
    upstreamDurationMs: 4,
  }
}

const gone = new DependencyError('ledger', 'gone')
const hold = holdOf(quotaOf({ unit: 'in_flight', limit: 100_000, window: { kind: 'open' } }), 1)

describe('an early report', () => {
  let ledger: Ledger<Admission>
  let find: Ledger<Admission>['find']
  let end: Ledger<Admission>['end']
  let asked: string[]
  let told: (string | undefined)[]
  let failures: unknown[]
  let late: string[]
  let lateTries: ReportTries[]
  let nowMs: number
  let timer: { readonly atMs: number; readonly run: () => void } | undefined
  let early: EarlyReports
  let tell: (ended: EndedReservation | undefined) => Promise<void>

  beforeEach(() => {
    ledger = createMemoryLedger()
    find = (id, at) => ledger.find(id, at)
    end = (...args) => ledger.end(...args)
    asked = []
    told = []
    failures = []
    late = []
    lateTries = []
    nowMs = 0
    timer = undefined
    tell = async (ended) => void told.push(ended?.report?.reservationId)
    const clock = { nowEpochMs: () => 1_700_000_000_000, monotonicMs: () => nowMs }
    early = createEarlyReports({
      clock,
      rates: createGenerationRates(),
      ledger: {
        ...ledger,
        find: async (id, at) => {
          asked.push(id)
          return find(id, at)
        },
        end: (...args) => end(...args),
      },
      after: (delayMs, run) => {
        timer = { atMs: nowMs + delayMs, run }
        return () => (timer = undefined)
      },
      onEnded: (ended) => tell(ended),
      onFailure: (error) => failures.push(error),
      lateReports: {
        keep({ reservationId }, tries) {
          late.push(reservationId)
          lateTries.push(tries)
        },
      },
    })
  })

  async function settle(): Promise<void> {
    for (let turns = 0; turns < 40; turns += 1) await new Promise(setImmediate)
  }

  /** Lets so much time pass, timer by timer. */
  async function pass(ms: number): Promise<void> {
    const untilMs = nowMs + ms
    while (timer !== undefined && timer.atMs <= untilMs) {
      const { atMs, run } = timer
      timer = undefined
      nowMs = atMs
      run()
      await settle()
    }
    nowMs = untilMs
  }

  async function reserve(id: string): Promise<void> {
    const request = { id, idempotencyKey: id, holds: [hold], context: admission, leaseMs: 60_000 }
    expect(await ledger.reserve(request, 0)).toMatchObject({ kind: 'held' })
  }

  test('ends its reservation 50 ms later, where that has reached the ledger by then', async () => {
    expect(early.keep(reportOf('r'))).toBe(true)
    await reserve('r')
    await pass(49)
    expect([told, early.count()]).toEqual([[], 1])
    await pass(1)
    expect([told, early.count(), ledger.size().reservations]).toEqual([['r'], 0, 0])
    expect(timer).toBeUndefined()
  })

  test('is tried again after 150, 800 and 2000 ms more, and then given up', async () => {
    early.keep(reportOf('r'))
    for (const [ms, times] of [
      [50, 1],
      [150, 2],
      [800, 3],
      [1999, 3],
    ] as const) {
      await pass(ms)
      expect([asked.length, told, early.count()]).toEqual([times, [], 1])
    }
    await pass(1)
    expect([asked.length, told, early.count()]).toEqual([4, [undefined], 0])
    expect(timer).toBeUndefined()
  })

  test('that comes twice is kept once, also while it is tried', async () => {
    let answer = (): void => undefined
    find = () =>
      new Promise((resolve) => {
        answer = () => {
          resolve(undefined)
        }
      })
    expect([early.keep(reportOf('r')), early.keep(reportOf('r'))]).toEqual([true, false])
    await pass(50)
    expect([asked, early.keep(reportOf('r')), early.count()]).toEqual([['r'], false, 1])
    answer()
    await settle()
    expect([early.keep(reportOf('r')), early.count()]).toEqual([false, 1])
  })

  test('has the ledger asked 32 at once, and each once', async () => {
    const answers: (() => void)[] = []
    find = () =>
      new Promise((resolve) => {
        answers.push(() => {
          resolve(undefined)
        })
      })
    for (let index = 0; index < 100; index += 1) early.keep(reportOf(String(index)))
    await pass(50)
    expect([asked.length, early.count()]).toEqual([32, 100])
    for (let answered = 0; answered < 100; answered += 1) {
      answers[answered]?.()
      await settle()
    }
    expect(new Set(asked).size).toBe(100)
    expect([asked.length, early.count()]).toEqual([100, 100])
  })

  test.each([
    gone,
    new ComingError('ledger', 'it comes'),
    new ScriptError('raised'),
    new UndecidedError('ledger', 'unclear'),
  ])('that a ledger fails is a late one at once, and holds up no other: %s', async (error) => {
    find = async (id, at) => {
      if (id !== 'r') throw error
      return ledger.find(id, at)
    }
    const failing = Array.from({ length: 100 }, (_, index) => String(index))
    for (const id of [...failing, 'r']) early.keep(reportOf(id))
    await reserve('r')
    await pass(50)
    expect([late, told, failures, early.count()]).toEqual([failing, ['r'], [], 0])
  })

  test('that fails at once leaves room for others in the event loop', async () => {
    find = () => Promise.reject(gone)
    for (let index = 0; index < 1000; index += 1) early.keep(reportOf(String(index)))
    nowMs += 50
    timer?.run()
    await new Promise(setImmediate)
    expect(asked.length).toBeLessThan(100)
    await settle()
    expect(late.length).toBe(1000)
  })

  test('that has begun to end its reservation is a late one with what it has come to', async () => {
    const begun = { reservation: { id: 'r', holds: [], context: admission, admittedAtEpochMs: 0 } }
    end = async (_, __, ___, tries = {}) => {
      tries.begun = { ...begun, home: 7 }
      throw gone
    }
    await reserve('r')
    early.keep(reportOf('r'))
    await pass(50)
    expect(lateTries).toMatchObject([{ ledger: { begun }, settling: { end: { kind: 'settled' } } }])
  })

  test('of which a fault of our own is found is dropped, and the others are not', async () => {
    const ours = new TypeError('ours')
    find = async (id, at) => {
      if (id === 'broken') throw ours
      return ledger.find(id, at)
    }
    for (const id of ['broken', 'r']) early.keep(reportOf(id))
    await reserve('r')
    await pass(50)
    expect([told, failures, early.count()]).toEqual([['r'], [ours], 0])
  })

  test('that ended something is not tried again where that cannot be told', async () => {
    tell = () => Promise.reject(gone)
    await reserve('r')
    early.keep(reportOf('r'))
    await pass(50)
    expect([failures, early.count()]).toEqual([[gone], 0])
  })

  test('pushes out what was tried most often, beyond 10,000, and where nothing was tried is not kept', async () => {
    for (let index = 0; index < 10_000; index += 1) early.keep(reportOf(String(index)))
    expect([early.keep(reportOf('r')), early.count()]).toEqual([false, 10_000])
    const known = find
    find = async () => undefined
    await pass(200)
    find = known
    expect([told, early.count()]).toEqual([[], 10_000])
    await reserve('r')
    expect([early.keep(reportOf('r')), early.count(), told]).toEqual([true, 10_000, [undefined]])
    await pass(50)
    expect(told).toEqual([undefined, 'r'])
  })

  test('is tried no more once they are closed', async () => {
    early.keep(reportOf('r'))
    early.close()
    expect(timer).toBeUndefined()
    early.keep(reportOf('other'))
    expect(timer).toBeUndefined()
  })
})

test('thousands of streams that end before the store knows of them, reported to another process, are all settled', async () => {
  const redis = await startRedis()
  const open = (): Ledger<Admission> => {
    const store = openStore(redis.address, { clock: systemClock, random: Math.random })
    const options = { store, clock: systemClock, timeoutMs: 5000 } as const
    const ledger = createRedisLedger<Admission>(options)
    return createSlicedLedger({ ...options, ledger, random: Math.random })
  }
  const [one, other] = [open(), open()]
  const parts = { ledger: other, rates: createGenerationRates(), clock: systemClock }
  let ended = 0
  const early = createEarlyReports({
    ...parts,
    after: (delayMs, run) => systemTimers.after(delayMs, run),
    onEnded: async (reservation) => void (ended += reservation === undefined ? 0 : 1),
    onFailure: (error) => {
      throw error
    },
    lateReports: {
      keep: () => {
        throw new Error('nothing fails here')
      },
    },
  })
  let kept = 0
  try {
    const quota = { ...hold.quota, slices: true }
    const leaseMs = 60_000
    const stream = async (id: string): Promise<void> => {
      const holds = [{ ...hold, quota }]
      const request = { id, idempotencyKey: id, holds, context: admission, leaseMs }
      expect(await one.reserve(request, Date.now())).toMatchObject({ kind: 'held' })
      if ((await meter(reportOf(id), parts)) !== undefined) ended += 1
      else if (early.keep(reportOf(id))) kept += 1
    }
    const streams = 5000
    for (let from = 0; from < streams; from += 500) {
      await Promise.all(Array.from({ length: 500 }, (_, at) => stream(String(from + at))))
    }
    await until(async () => {
      expect(early.count()).toBe(0)
    })
    expect(ended).toBe(streams)
    // More than were kept when they waited for a round of upkeep.
    expect(kept).toBeGreaterThan(1000)
    await one.close()
    const [balance] = await other.balances([{ ...hold, quota }], Date.now())
    expect(balance).toMatchObject({ reserved: 0 })
  } finally {
    early.close()
    await other.close()
    await redis.stop()
  }
})
