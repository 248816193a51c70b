import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { DependencyError, PartError } from '../../src/errors.js'
import type { End, Ledger } from '../../src/quota/ledger.js'
import type { Quota } from '../../src/quota/quota.js'
import { createRedisLedger } from '../../src/quota/redis/redis-ledger.js'
import { loadRedisScripts } from '../../src/quota/redis/scripts.js'
import { createSlicedLedger } from '../../src/quota/slices/sliced-ledger.js'
import type { SliceTuning } from '../../src/quota/slices/sliced-ledger.js'
import { openStore, UnansweredError } from '../../src/store/store.js'
import { startFaultProxy } from '../fault-proxy.js'
import type { FaultProxy } from '../fault-proxy.js'
import { addressOf, startRedis } from '../redis-server.js'
import type { RedisServer } from '../redis-server.js'
import { fewRuns, runs } from '../runs.js'
import { calendar, holdOf, quotaOf } from './quotas.js'
import { makeUnreadable } from './unreadable.js'
import { givesSlices } from './slicing.js'

// What slices are for, and what becomes of them when processes die and answers are lost. Moments are Redis's own.

let redis: RedisServer
let proxy: FaultProxy
beforeAll(async () => {
  redis = await startRedis()
  proxy = await startFaultProxy(redis.port)
})
afterAll(async () => {
  await proxy.stop()
  await redis.stop()
})
beforeEach(() => redis.client.flushall())

const ledgers: Ledger<string>[] = []
afterEach(async () => {
  for (const ledger of ledgers.splice(0)) await ledger.close()
})

const scripts = loadRedisScripts()
const eager: Partial<SliceTuning> = { warmMs: Infinity }
/** One slice may be all that is free. */
const greedy: Partial<SliceTuning> = { ...eager, share: { one: 1, all: 1 }, leastRequests: 1 }

/** On a busy machine a call may take long: it fails where a test says so alone. */
const BUSY_MS = 60_000

interface Differences {
  readonly throughProxy?: boolean
  readonly timeoutMs?: number
  readonly tuning?: Partial<SliceTuning>
  /** The moments that the test passes count, so that no slice is over before the test says so. */
  readonly moments?: 'given'
}

/** As one process would have it, with what a test wants to see and to spoil. */
function open({
  throughProxy = false,
  timeoutMs = BUSY_MS,
  tuning = eager,
  moments,
}: Differences = {}) {
  const spoilt = {
    asked: 0,
    /** Those in which Redis decided. */
    decisions: 0,
    /** Those for what is in slices. */
    looks: 0,
    /** Those for a reservation. */
    finds: 0,
    loseTurns: false,
    loseSlices: false,
    aheadMs: 0,
    slowerMs: 0,
    slowerTurnsMs: 0,
    /** Awaited between Redis's decision and its answer. */
    onDecided: (): Promise<unknown> => Promise.resolve(),
    /** Redis has just given slices, which nothing was admitted from yet. */
    onGiven: (): void => undefined,
    kill: (): void => undefined,
    died: Promise.resolve(),
  }
  let dead = false
  spoilt.died = new Promise<void>((resolve) => {
    spoilt.kill = () => {
      dead = true
      resolve()
    }
  })
  const clock = { monotonicMs: () => systemClock.monotonicMs() + spoilt.aheadMs }
  const address = throughProxy
    ? addressOf(`redis://127.0.0.1:${String(proxy.port)}`)
    : redis.address
  const store = openStore(address, { clock, random: Math.random })
  const counting: typeof store = {
    ...store,
    async run(...call) {
      spoilt.asked += 1
      if (call[0].digest === scripts.reserve.digest) spoilt.decisions += 1
      if (call[0].digest === scripts.slices.digest) spoilt.looks += 1
      if (call[0].digest === scripts.find.digest) spoilt.finds += 1
      // A process that was killed says nothing more.
      if (dead) throw new DependencyError('ledger', 'killed')
      if (spoilt.loseTurns && call[0].digest === scripts.turn.digest) {
        throw new DependencyError('ledger', 'lost')
      }
      if (spoilt.loseSlices && call[0].digest === scripts.slices.digest) {
        throw new DependencyError('ledger', 'lost')
      }
      const reply = await store.run(...call)
      if (call[0].digest === scripts.reserve.digest) await spoilt.onDecided()
      if (call[0].digest === scripts.turn.digest && givesSlices(reply)) spoilt.onGiven()
      spoilt.aheadMs += spoilt.slowerMs
      if (call[0].digest === scripts.turn.digest) spoilt.aheadMs += spoilt.slowerTurnsMs
      return reply
    },
    nowMs: () => store.nowMs(),
  }
  const parts = { store: counting, clock, timeoutMs, ...(moments === undefined ? {} : { moments }) }
  const plain = createRedisLedger<string>(parts)
  const ledger = createSlicedLedger({ ...parts, ledger: plain, random: Math.random, tuning })
  ledgers.push(ledger)
  return { ...ledger, spoilt }
}

/** A process without slices, to see what stands in Redis. */
function openPlain(moments: 'redis' | 'given' = 'redis'): Ledger<string> {
  const store = openStore(redis.address, { clock: systemClock, random: Math.random })
  const ledger = createRedisLedger<string>({
    store,
    clock: systemClock,
    timeoutMs: BUSY_MS,
    moments,
  })
  ledgers.push(ledger)
  return ledger
}

const month = quotaOf({ name: 'month', limit: 100_000, window: calendar('month'), slices: true })
const hour = quotaOf({
  name: 'hour',
  limit: 50_000,
  window: { kind: 'sliding', lengthMs: 3_600_000 },
  slices: true,
})
const parallel = quotaOf({
  name: 'parallel',
  unit: 'in_flight',
  limit: 1000,
  window: { kind: 'open' },
  slices: true,
})
const sliced = [month, hour, parallel]

const holdsOf = (quotas: readonly Quota[], amount = 10) =>
  quotas.map((quota) => holdOf(quota, quota.unit === 'tokens' ? amount : 1))

function requestOf(id: string, quotas: readonly Quota[] = sliced, leaseMs = 600_000) {
  return {
    id,
    idempotencyKey: `stream ${id}`,
    holds: holdsOf(quotas),
    context: `context of ${id}`,
    leaseMs,
  }
}

const nowMs = (): number => Date.now()
const atMs = Date.parse('2026-02-02T00:00:00Z')
const given = { moments: 'given' } as const
const settled = (tokens: number): End => {
  return { kind: 'settled', inputTokens: tokens, outputTokens: 0 }
}

/** Spent, reserved and debt of each quota, as they stand in Redis. */
async function figures(quotas: readonly Quota[] = sliced, at?: number): Promise<number[][]> {
  const ledger = at === undefined ? openPlain() : openPlain('given')
  const balances = await ledger.balances(holdsOf(quotas), at ?? nowMs())
  return balances.map(({ spent, reserved, debt }) => [spent, reserved, debt])
}

/** Of so many requests that are open, or were settled to 5 tokens. */
const standing = (open: number, ended = 0) => [
  [5 * ended, 10 * open, 0],
  [5 * ended, 10 * open, 0],
  [0, open, 0],
]

function eventually<T>(ask: () => Promise<T> | T): Promise<T> {
  return vi.waitFor(ask, { timeout: 20_000, interval: 10 })
}

describe('a process with slices', () => {
  test('decides without asking Redis, and tells it soon after', async () => {
    const [one, other] = [open(given), open(given)]
    await one.reserve(requestOf('first'), atMs)
    // No turn is answered meanwhile, and Redis decides nothing.
    one.spoilt.loseTurns = true
    const ids = Array.from({ length: 5 }, (_, index) => `r${String(index)}`)
    for (const id of ids) {
      const held = await one.reserve(requestOf(id), atMs)
      expect(held).toMatchObject({ kind: 'held', repeated: false, reservation: { id } })
    }
    expect(one.spoilt.decisions).toBe(0)
    one.spoilt.loseTurns = false
    await one.reserve(requestOf('last'), atMs)
    for (const id of ids) {
      const found = await eventually(async () => {
        const reservation = await other.find(id, atMs)
        if (reservation === undefined) throw new Error('not yet')
        return reservation
      })
      expect(found).toMatchObject({ context: `context of ${id}`, holds: requestOf(id).holds })
      expect(await other.end(id, settled(5), atMs)).toMatchObject({ outcome: 'settled' })
      expect(await one.end(id, settled(5), atMs)).toBeUndefined()
    }
    await one.close()
    expect(await figures(sliced, atMs)).toEqual(standing(2, 5))
  })

  test('takes a slice only of what is asked for again at once', async () => {
    const ledger = open({ ...given, tuning: {} })
    await ledger.reserve(requestOf('a'), atMs)
    expect(await redis.client.keys('tg2:{0}:s:*')).toEqual([])
    await ledger.reserve(requestOf('b'), atMs + 1000)
    expect(await redis.client.keys('tg2:{0}:s:*')).toHaveLength(3)
    const { decisions } = ledger.spoilt
    await ledger.reserve(requestOf('c'), atMs + 2001)
    expect(ledger.spoilt.decisions).toBe(decisions + 1)
  })

  test('takes a 40th of what is free at most, and none where four requests need more', async () => {
    const ledger = open(given)
    const quota = { ...month, limit: 1010 }
    await ledger.reserve({ ...requestOf('a'), holds: [holdOf(quota, 7)] }, atMs)
    expect(await figures([quota], atMs)).toEqual([[0, 7, 0]])
    await ledger.expire(atMs + 250)
    await ledger.reserve({ ...requestOf('b'), holds: [holdOf(quota, 5)] }, atMs + 250)
    expect(await figures([quota], atMs + 250)).toEqual([[0, 7 + 25, 0]])
  })

  test('asks Redis where one quota that binds is not sliced', async () => {
    const ledger = open()
    const quotas = [month, { ...hour, slices: false }]
    for (const id of ['a', 'b', 'c']) {
      await ledger.reserve(requestOf(id, quotas), nowMs())
      expect(await openPlain().find(id, nowMs())).toBeDefined()
    }
    expect(ledger.spoilt.asked).toBe(3)
  })

  test('tells what is left of a partition without its own slice', async () => {
    const ledger = open()
    await ledger.reserve(requestOf('a'), nowMs())
    const held = await ledger.reserve(requestOf('b'), nowMs())
    expect(held.balances).toMatchObject([
      { spent: 0, reserved: 20, remaining: 99_980 },
      { spent: 0, reserved: 20, remaining: 49_980 },
      { spent: 0, reserved: 2, remaining: 998 },
    ])
  })

  test('tells what is left of a partition without the slice that it is still taking', async () => {
    const ledger = open(given)
    // More than half of the first slice: another is under way.
    for (let index = 0; index < 9; index += 1) {
      await ledger.reserve(requestOf(`r${String(index)}`), atMs)
    }
    expect(await ledger.balances(holdsOf(sliced), atMs)).toMatchObject([
      { spent: 0, reserved: 90, remaining: 99_910 },
      { spent: 0, reserved: 90, remaining: 49_910 },
      { spent: 0, reserved: 9, remaining: 991 },
    ])
  })

  test('ends at once what it decided a moment ago', async () => {
    const ledger = open()
    await ledger.reserve(requestOf('a'), nowMs())
    expect(await ledger.end('a', settled(5), nowMs())).toMatchObject({
      outcome: 'settled',
      charges: [{ actual: 5 }, { actual: 5 }, { actual: 1 }],
    })
    await ledger.close()
    expect(await figures()).toEqual(standing(0, 1))
  })

  test('gives back what it decided and abandoned, told or not', async () => {
    const ledger = open()
    for (const id of ['a', 'b']) await ledger.reserve(requestOf(id), nowMs())
    await eventually(async () => {
      expect(await openPlain().find('a', nowMs())).toBeDefined()
    })
    await ledger.reserve(requestOf('c'), nowMs())
    for (const id of ['a', 'b', 'c']) {
      expect(await ledger.abandon(id, nowMs())).toMatchObject({ outcome: 'released' })
      expect(await ledger.find(id, nowMs())).toBeUndefined()
    }
    await ledger.close()
    expect(await figures()).toEqual(standing(0))
  })

  test('tells what it decided and could not give back at once, and counts it no more', async () => {
    const ledger = open({ throughProxy: true })
    await eventually(() => ledger.balances(holdsOf(sliced), nowMs()))
    await ledger.reserve(requestOf('a'), nowMs())
    await eventually(async () => {
      expect(await openPlain().find('a', nowMs())).toBeDefined()
    })
    proxy.cut()
    await expect(ledger.abandon('a', nowMs())).rejects.toThrow(DependencyError)
    expect(ledger.size().reservations).toBe(1)
    const told: unknown[] = []
    await eventually(async () => {
      told.push(...(await ledger.expire(nowMs())))
      expect(told).toMatchObject([{ outcome: 'released', reservation: { id: 'a' } }])
    })
    expect(ledger.size().reservations).toBe(0)
    await ledger.close()
    expect(await figures()).toEqual(standing(0))
  })

  test('admits nothing from a slice that is over', async () => {
    const ledger = open()
    await ledger.reserve(requestOf('a'), nowMs())
    ledger.spoilt.loseTurns = true
    // As after SIGSTOP and SIGCONT: the slice looks as it did.
    ledger.spoilt.aheadMs = 1000
    await ledger.reserve(requestOf('b'), nowMs())
    expect(ledger.spoilt.decisions).toBe(1)
  })

  test('gives back slices that are over, though nobody asks', async () => {
    const ledger = open()
    await ledger.reserve(requestOf('a'), nowMs())
    await ledger.end('a', { kind: 'released' }, nowMs())
    ledger.spoilt.aheadMs = 1000
    await ledger.expire(nowMs())
    expect(await figures()).toEqual(standing(0))
    expect(await redis.client.keys('tg2:{0}:[sp]:*')).toEqual([])
  })

  test('gives back all that it holds when it closes', async () => {
    const ledger = open()
    for (let index = 0; index < 20; index += 1) {
      await ledger.reserve(requestOf(`r${String(index)}`), nowMs())
    }
    await ledger.close()
    expect(await figures()).toEqual(standing(20))
    expect(await redis.client.keys('tg2:{0}:s:*')).toEqual([])
    expect(await redis.client.keys('tg2:{0}:due')).toEqual([])
  })

  test('gives back what it is still taking when it closes', async () => {
    const ledger = open(given)
    // More than half of the first slice: another is under way.
    for (let index = 0; index < 9; index += 1) {
      await ledger.reserve(requestOf(`r${String(index)}`), atMs)
    }
    await ledger.close()
    expect(await figures(sliced, atMs)).toEqual(standing(9))
    expect(await redis.client.keys('tg2:{0}:s:*')).toEqual([])
  })

  test('leaves no key without an end', async () => {
    const ledger = open()
    for (const id of ['a', 'b']) await ledger.reserve(requestOf(id), nowMs())
    await ledger.expire(nowMs())
    const keys = await redis.client.keys('*')
    expect(keys.length).toBeGreaterThan(8)
    for (const key of keys) {
      expect(key).toMatch(/^tg2:\{0\}:([ps]:[a-z]+ a|[rit]:[\w-]{22}|leases|due)$/)
      expect(await redis.client.pttl(key)).toBeGreaterThan(0)
    }
  })

  test('is known by its slices of a long window for as long as that lasts', async () => {
    const year = quotaOf({ name: 'year', limit: 100_000, window: calendar('year'), slices: true })
    const ledger = open(given)
    await ledger.reserve(requestOf('a', [year]), atMs)
    const left = await redis.client.pttl('tg2:{0}:s:year a')
    const yearEndsInMs = Date.parse('2027-01-01T00:00:00Z') - atMs
    expect(left).toBeGreaterThan(yearEndsInMs)
    expect(left).toBeLessThanOrEqual(yearEndsInMs + 60_000)
  })

  test('takes no slice under another limit into account', async () => {
    const ledger = open()
    await ledger.reserve(requestOf('a', [month]), nowMs())
    const lowered = { ...month, limit: 15 }
    expect(await ledger.reserve(requestOf('b', [lowered]), nowMs())).toMatchObject({
      kind: 'short',
    })
    expect((await figures([month]))[0]).toEqual([0, 10, 0])
  })

  test('refuses nothing for a slice that is over and not back yet', async () => {
    const ledger = open({ ...given, tuning: greedy })
    const quota = { ...month, limit: 100 }
    await ledger.reserve(requestOf('a', [quota]), atMs)
    expect(await figures([quota], atMs)).toEqual([[0, 100, 0]])
    await ledger.exhausted({ holds: holdsOf([quota]), idempotencyKey: 'asked' }, atMs + 1000)
    const holds = [holdOf(quota, 90), holdOf({ ...hour, slices: false }, 90)]
    const request = { ...requestOf('b'), holds }
    expect(await ledger.reserve(request, atMs + 1000)).toMatchObject({ kind: 'held' })
  })

  test('refuses nothing for a slice that came back after Redis decided', async () => {
    const ledger = open({ ...given, tuning: greedy })
    const quota = { ...month, limit: 100 }
    await ledger.reserve(requestOf('a', [quota]), atMs)
    ledger.spoilt.onDecided = async () => {
      ledger.spoilt.onDecided = () => Promise.resolve()
      await ledger.expire(atMs + 1000)
    }
    const holds = [holdOf(quota, 90), holdOf({ ...hour, slices: false }, 90)]
    const request = { ...requestOf('b'), holds }
    expect(await ledger.reserve(request, atMs + 999)).toMatchObject({ kind: 'held' })
    expect(ledger.spoilt.decisions).toBe(2)
  })

  test('is refused what Redis refused where it does not answer when it is asked again', async () => {
    const ledger = open({ ...given, tuning: greedy })
    const quota = { ...month, limit: 100 }
    await ledger.reserve(requestOf('a', [quota]), atMs)
    // It decides, and nobody hears of it.
    const lost = (): Promise<never> => Promise.reject(new UnansweredError('lost'))
    ledger.spoilt.onDecided = () => {
      ledger.spoilt.onDecided = lost
      return Promise.resolve()
    }
    const holds = [holdOf(quota, 90), holdOf({ ...hour, slices: false }, 90)]
    const answer = await ledger.reserve({ ...requestOf('b'), holds }, atMs)
    expect(answer).toMatchObject({ kind: 'short', balances: [{ remaining: 0 }, {}] })
    expect(ledger.spoilt.decisions).toBe(2)
    await ledger.expire(atMs)
    expect(await figures([quota], atMs)).toEqual([[0, 10, 0]])
  })

  test.each([
    { failed: 'a part that had room', place: 1, isRefused: false },
    { failed: 'the part that had none', place: 0, isRefused: true },
  ])(
    'is refused what Redis refused first only where $failed fails then',
    async ({ place, isRefused }) => {
      const ledger = open({ ...given, tuning: greedy })
      const quota = { ...month, limit: 100 }
      await ledger.reserve(requestOf('a', [quota]), atMs)
      const silent = (): Promise<never> =>
        Promise.reject(new PartError('ledger', 'a node is silent', [place]))
      ledger.spoilt.onDecided = () => {
        ledger.spoilt.onDecided = silent
        return Promise.resolve()
      }
      const holds = [holdOf(quota, 90), holdOf({ ...hour, slices: false }, 90)]
      const answer = ledger.reserve({ ...requestOf('b'), holds }, atMs)
      if (isRefused) expect(await answer).toMatchObject({ kind: 'short' })
      else await expect(answer).rejects.toThrow('a node is silent')
      expect(ledger.spoilt.decisions).toBe(2)
    },
  )

  test('is asked nothing again for which there is no time', async () => {
    const ledger = open({ ...given, tuning: greedy, timeoutMs: 1000 })
    ledger.spoilt.slowerTurnsMs = 400
    const quota = { ...month, limit: 100 }
    await ledger.reserve(requestOf('a', [quota]), atMs)
    ledger.spoilt.onDecided = () => {
      ledger.spoilt.aheadMs += 250
      return Promise.resolve()
    }
    const holds = [holdOf(quota, 90), holdOf({ ...hour, slices: false }, 90)]
    expect(await ledger.reserve({ ...requestOf('b'), holds }, atMs)).toMatchObject({
      kind: 'short',
    })
    expect(ledger.spoilt.decisions).toBe(1)
  })

  test('asks again for nothing that came back before, nor when it is too late', async () => {
    const ledger = open({ ...given, tuning: greedy, timeoutMs: 1000 })
    const quota = { ...month, limit: 100 }
    await ledger.reserve(requestOf('a', [quota]), atMs)
    const holds = [holdOf(quota, 90), holdOf({ ...hour, slices: false }, 90)]
    ledger.spoilt.onDecided = async () => {
      await ledger.expire(atMs + 1000)
      ledger.spoilt.aheadMs += 1000
    }
    const late = await ledger.reserve({ ...requestOf('b'), holds }, atMs + 999)
    expect(late).toMatchObject({ kind: 'short' })
    ledger.spoilt.onDecided = () => Promise.resolve()
    const more = [holdOf(quota, 91), holdOf({ ...hour, slices: false }, 91)]
    const short = await ledger.reserve({ ...requestOf('c'), holds: more }, atMs + 1000)
    expect(short).toMatchObject({ kind: 'short' })
    expect(ledger.spoilt.decisions).toBe(2)
  })

  test('leaves a partition near its limit to Redis for a while', async () => {
    const ledger = open({ ...given, tuning: greedy })
    const quota = { ...month, limit: 100 }
    await ledger.reserve(requestOf('a', [quota]), atMs)
    const holds = [holdOf(quota, 95), holdOf({ ...hour, slices: false }, 95)]
    const short = await ledger.reserve({ ...requestOf('b'), holds }, atMs)
    expect(short).toMatchObject({ kind: 'short', balances: [{ reserved: 10 }, { reserved: 0 }] })
    const { decisions } = ledger.spoilt
    await ledger.reserve(requestOf('c', [quota]), atMs + 249)
    expect(ledger.spoilt.decisions).toBe(decisions + 1)
    await ledger.reserve(requestOf('d', [quota]), atMs + 250)
    expect(ledger.spoilt.decisions).toBe(decisions + 1)
  })

  test.each([
    ['calendar', calendar('minute')],
    ['fixed', { kind: 'fixed', lengthMs: 60_000 }],
    ['sliding', { kind: 'sliding', lengthMs: 64 * 60_000 }],
  ] as const)('uses no slice beyond the cell of its %s window', async (_, window) => {
    const ledger = open(given)
    const quota = { ...month, window }
    await ledger.reserve(requestOf('a', [quota]), atMs - 500)
    // It takes no other meanwhile, so what its slice does not admit Redis decides.
    ledger.spoilt.loseTurns = true
    await ledger.reserve(requestOf('b', [quota]), atMs - 400)
    expect(ledger.spoilt.decisions).toBe(0)
    await ledger.reserve(requestOf('c', [quota]), atMs)
    expect(ledger.spoilt.decisions).toBe(1)
  })

  test('takes no slice of another window into account', async () => {
    const ledger = open(given)
    await ledger.reserve(requestOf('a', [month]), atMs)
    ledger.spoilt.loseTurns = true
    await ledger.reserve(requestOf('b', [{ ...month, window: calendar('day') }]), atMs)
    expect(ledger.spoilt.decisions).toBeGreaterThan(0)
  })

  test('begins no further call for a request that has waited long enough', async () => {
    const ledger = open({ ...given, timeoutMs: 1000 })
    ledger.spoilt.slowerMs = 1000
    const quota = { ...month, limit: 10 }
    // There is no slice to take, and then it is too late to ask for less.
    const late = ledger.reserve(requestOf('a', [quota]), atMs)
    await expect(late).rejects.toThrow(DependencyError)
    expect(ledger.spoilt.asked).toBe(1)
    expect(await figures([quota], atMs)).toEqual([[0, 0, 0]])
  })

  const inPartition = (id: string) => ({ ...requestOf(id), holds: [holdOf(month, 10, id)] })

  test('waits for no more than one turn where many partitions are asked for at once', async () => {
    const ledger = open({ ...given, timeoutMs: 5000 })
    // In turns alone, the last of them would be answered after 13.
    ledger.spoilt.slowerTurnsMs = 500
    const ids = Array.from({ length: 200 }, (_, index) => `r${String(index)}`)
    const answers = await Promise.all(ids.map((id) => ledger.reserve(inPartition(id), atMs)))
    expect(answers.every(({ kind }) => kind === 'held')).toBe(true)
    expect(ledger.spoilt.decisions).toBeGreaterThan(150)
    expect(ledger.spoilt.decisions).toBeLessThan(200)
  })

  test('asks Redis itself where a turn would come too late', async () => {
    const ledger = open({ ...given, timeoutMs: 5000 })
    ledger.spoilt.slowerTurnsMs = 5000
    const late = ledger.reserve(inPartition('first'), atMs)
    await expect(late).rejects.toThrow('Redis was too slow')
    const answer = await ledger.reserve(inPartition('second'), atMs)
    expect(answer).toMatchObject({ kind: 'held' })
    expect(ledger.spoilt.decisions).toBe(1)
  })

  test('asks Redis itself where a turn fails before it is late', async () => {
    const ledger = open(given)
    ledger.spoilt.loseTurns = true
    expect(await ledger.reserve(requestOf('a'), atMs)).toMatchObject({ kind: 'held' })
    expect(ledger.spoilt.decisions).toBe(1)
  })

  test('is refused what Redis refused where it cannot tell what it has', async () => {
    const ledger = open({ ...given, tuning: greedy })
    const quota = { ...month, limit: 100 }
    await ledger.reserve(requestOf('a', [quota]), atMs)
    const holds = [holdOf(quota, 90), holdOf({ ...hour, slices: false }, 90)]
    ledger.spoilt.loseTurns = true
    const short = await ledger.reserve({ ...requestOf('b'), holds }, atMs)
    expect(short).toMatchObject({ kind: 'short', balances: [{ remaining: 0 }, {}] })
    ledger.spoilt.loseTurns = false
    expect(await ledger.reserve({ ...requestOf('c'), holds }, atMs)).toMatchObject({ kind: 'held' })
  })

  test('admits nothing more when it learns of a debt', async () => {
    const ledger = open()
    await ledger.reserve(requestOf('a', [month]), nowMs())
    await ledger.end('a', settled(month.limit), nowMs())
    expect(await ledger.reserve(requestOf('b', [month]), nowMs())).toMatchObject({ kind: 'short' })
  })

  describe('refuses what fits beside no slices of others', () => {
    const day = { ...month, name: 'day', limit: 400, window: calendar('day') }
    const dayMs = 86_400_000
    const short = (retryAfterMs: number) => ({ kind: 'short', quota: day, retryAfterMs })

    /** 160 of 400 are in a slice of the one, of which it admits 10; the other has taken the 240 that were left. */
    async function beside(quotas: readonly Quota[] = [day]) {
      const [one, other] = [open({ ...given, tuning: greedy }), open(given)]
      await one.reserve(requestOf('a', quotas), atMs)
      const rest = quotas.map((quota) => holdOf(quota, 240))
      await other.reserve({ ...requestOf('b'), holds: rest }, atMs)
      // Tells of what was admitted.
      await one.expire(atMs)
      let asked = 0
      const ask = (amount: number, at: number, holds = [holdOf(day, amount)]) =>
        other.reserve({ ...requestOf(`c${String((asked += 1))}`), holds }, at)
      return { one, other, ask }
    }

    test('until these are back, and not until the window has passed', async () => {
      const { one, other, ask } = await beside()
      expect(await ask(150, atMs)).toMatchObject(short(2500))
      expect(await ask(150, atMs + 900)).toMatchObject(short(1600))
      await one.expire(atMs + 1000)
      await other.expire(atMs + 1000)
      expect(await ask(150, atMs + 1000)).toMatchObject({ kind: 'held' })
    })

    test('until the window has passed where it does not fit with them', async () => {
      const { ask } = await beside()
      expect(await ask(151, atMs)).toMatchObject(short(dayMs))
      expect(await ask(401, atMs)).toMatchObject({ kind: 'short', retryAfterMs: undefined })
    })

    test('until the window has passed where a process died with them', async () => {
      const { one, ask } = await beside()
      one.spoilt.kill()
      expect(await ask(150, atMs + 2499)).toMatchObject(short(1))
      expect(await ask(150, atMs + 2500)).toMatchObject(short(dayMs - 2500))
    })

    test('until all that is short fits', async () => {
      const { ask } = await beside()
      const plain = { ...hour, slices: false, limit: 100 }
      await ask(0, atMs, [holdOf(plain, 100)])
      const holds = [holdOf(day, 150), holdOf(plain, 1)]
      expect(await ask(150, atMs, holds)).toMatchObject({ quota: plain, retryAfterMs: 3_656_250 })
    })

    test('as long as they are back within a cell of a sliding window', async () => {
      const quota = { ...hour, name: 'day', limit: 400 }
      const { ask } = await beside([quota])
      expect(await ask(0, atMs, [holdOf(quota, 150)])).toMatchObject({ retryAfterMs: 2500 })
      const fits = await ask(0, atMs, [holdOf(quota, 151)])
      expect(fits).toMatchObject({ retryAfterMs: 3_656_250 })
    })

    test('and tells the same of what is exhausted, asking for it once in a second', async () => {
      const { other, ask } = await beside()
      await ask(1, atMs)
      const { looks } = other.spoilt
      const request = { holds: [holdOf(day, 5)], idempotencyKey: 'asked' }
      expect(await other.exhausted(request, atMs)).toMatchObject(short(2500))
      expect(await other.exhausted(request, atMs + 400)).toMatchObject(short(2100))
      expect(other.spoilt.looks).toBe(looks)
      // One that would fit by what was told before is asked about anew.
      await other.reserve({ ...requestOf('d'), holds: [holdOf(day, 0)] }, atMs + 1000)
      expect(await other.exhausted(request, atMs + 1000)).toMatchObject(short(1500))
      expect(other.spoilt.looks).toBe(looks + 1)
    })

    test('and leaves it to Redis where they are back already, also after a debt since', async () => {
      const { one, other, ask } = await beside()
      await ask(1, atMs)
      // Gives back the 150 that are in its slice.
      await one.balances([holdOf(day, 0)], atMs + 999)
      const request = { holds: [holdOf(day, 5)], idempotencyKey: 'asked' }
      expect(await other.exhausted(request, atMs + 999)).toMatchObject(short(1501))
      await other.reserve({ ...requestOf('d'), holds: [holdOf(day, 151)] }, atMs + 999)
      const more = { holds: [holdOf(day, 150)], idempotencyKey: 'asked' }
      expect(await other.exhausted(more, atMs + 999)).toBeUndefined()
      await other.end('b', settled(1000), atMs + 999)
      await other.balances(more.holds, atMs + 999)
      expect(await other.exhausted(more, atMs + 999)).toMatchObject({ kind: 'short' })
    })

    test('and asks once for many that are refused at once', async () => {
      const { other, ask } = await beside()
      const { looks } = other.spoilt
      const answers = await Promise.all([150, 149, 148].map((amount) => ask(amount, atMs)))
      expect(answers).toMatchObject([short(2500), short(2500), short(2500)])
      expect(other.spoilt.looks).toBe(looks + 1)
    })

    test('and may come again at once where they came back after Redis refused it', async () => {
      const { one, other, ask } = await beside()
      other.spoilt.onDecided = () => one.balances([holdOf(day, 0)], atMs)
      expect(await ask(150, atMs)).toMatchObject(short(1))
    })

    test('as Redis alone would, where it does not say what is in them, asking once in a second', async () => {
      const { other, ask } = await beside()
      other.spoilt.loseSlices = true
      const { looks } = other.spoilt
      expect(await ask(150, atMs)).toMatchObject(short(dayMs))
      other.spoilt.loseSlices = false
      expect(await ask(150, atMs)).toMatchObject(short(dayMs))
      expect(other.spoilt.looks).toBe(looks + 1)
      other.spoilt.aheadMs += 1000
      expect(await ask(150, atMs)).toMatchObject(short(2500))
      expect(other.spoilt.looks).toBe(looks + 2)
    })

    test('and waits for the question of no request that may wait longer', async () => {
      const { other } = await beside()
      const { looks } = other.spoilt
      // Redis has refused both before either asks for slices.
      let refused = 0
      let bothRefused: () => void = () => undefined
      const both = new Promise<void>((resolve) => (bothRefused = resolve))
      other.spoilt.onDecided = () => {
        refused += 1
        if (refused === 2) bothRefused()
        return both
      }
      const askUntil = (id: string, dueMonotonicMs: number) =>
        other.reserve({ ...requestOf(id), holds: [holdOf(day, 150)], dueMonotonicMs }, atMs)
      const dueMs = systemClock.monotonicMs() + BUSY_MS
      const answers = await Promise.all([askUntil('later', dueMs + 1), askUntil('sooner', dueMs)])
      expect(answers).toMatchObject([short(2500), short(2500)])
      expect(other.spoilt.looks).toBe(looks + 2)
    })
  })

  test('is not said to be exhausted where its slice has room', async () => {
    const quota = { ...month, limit: 400 }
    const [ledger, other] = [open({ ...given, tuning: greedy }), open(given)]
    await ledger.reserve(requestOf('a', [quota]), atMs)
    const asked = { holds: holdsOf([quota]), idempotencyKey: 'asked' }
    // 160 of 400 are in the slice; the rest is taken by another.
    const rest = [holdOf(quota, 240)]
    expect((await other.reserve({ ...requestOf('b'), holds: rest }, atMs)).kind).toBe('held')
    expect((await other.reserve(requestOf('c', [quota]), atMs)).kind).toBe('short')
    expect(await other.exhausted(asked, atMs)).toMatchObject({ kind: 'short' })
    expect(await ledger.exhausted(asked, atMs)).toBeUndefined()
  })

  test('is asked for at Redis where a slice has too little while another quota is exhausted', async () => {
    const quota = { ...month, limit: 400 }
    const plain = { ...hour, slices: false }
    const ledger = open({ ...given, tuning: greedy })
    await ledger.reserve(requestOf('a', [quota]), atMs)
    const all = { ...requestOf('b'), holds: [holdOf(plain, plain.limit)] }
    expect((await ledger.reserve(all, atMs)).kind).toBe('held')
    const look = async (...amounts: readonly number[]) => {
      const holds = [holdOf(plain, 1), ...amounts.map((amount) => holdOf(quota, amount))]
      return ledger.exhausted({ holds, idempotencyKey: 'asked' }, atMs)
    }
    expect(await look(390)).toMatchObject({ quota: plain, balances: [{}, { remaining: 390 }] })
    expect(await look(391)).toBeUndefined()
    expect(await look(200, 190)).toMatchObject({ quota: plain })
    expect(await look(200, 191)).toBeUndefined()
  })

  test('is not said to be exhausted by what was told before its slice came back', async () => {
    const quota = { ...month, limit: 400 }
    const ledger = open({ ...given, tuning: greedy })
    await ledger.reserve(requestOf('a', [quota]), atMs)
    // 160 of 400 are in the slice; the rest is taken by a request that Redis decides.
    const plain = { ...hour, slices: false }
    const rest = { ...requestOf('b'), holds: [holdOf(quota, 240), holdOf(plain, 240)] }
    expect(await ledger.reserve(rest, atMs + 500)).toMatchObject({
      kind: 'held',
      balances: [{ remaining: 0 }, {}],
    })
    const asked = { holds: holdsOf([quota]), idempotencyKey: 'asked' }
    expect(await ledger.exhausted(asked, atMs + 1000)).toBeUndefined()
    // Redis counts it as long as it has not come back.
    const none = { ...requestOf('c'), holds: [holdOf(quota, 0), holdOf(plain, 1)] }
    expect(await ledger.reserve(none, atMs + 1000)).toMatchObject({
      balances: [{ remaining: 0 }, {}],
    })
    expect(await ledger.exhausted(asked, atMs + 1000)).toBeUndefined()
    await ledger.expire(atMs + 1000)
    // What came back counts no more where Redis has told it since.
    const last = { ...requestOf('d'), holds: [holdOf(quota, 150), holdOf(plain, 150)] }
    expect(await ledger.reserve(last, atMs + 1000)).toMatchObject({ kind: 'held' })
    expect(await ledger.exhausted(asked, atMs + 1000)).toMatchObject({ kind: 'short' })
  })
})

describe('one key at two processes', () => {
  test('is one reservation, whichever answer its report comes from', async () => {
    for (const one of [0, 1] as const) {
      const processes = [open(given), open(given)] as const
      for (const [index, ledger] of processes.entries()) {
        await ledger.reserve(requestOf(`warm ${String(index)}`), atMs)
      }
      for (const [index, ledger] of processes.entries()) {
        const request = { ...requestOf('a'), id: `a${String(index)}` }
        expect(await ledger.reserve(request, atMs)).toMatchObject({ repeated: false })
      }
      for (const ledger of processes) await ledger.expire(atMs)
      const [its, others] = one === 0 ? ['a0', 'a1'] : ['a1', 'a0']
      const [ledger, other] = [processes[one], processes[one === 0 ? 1 : 0]]
      // Another answer carries it too.
      expect(await ledger.abandon(its, atMs)).toBeUndefined()
      expect(await ledger.find(its, atMs)).toMatchObject({ context: 'context of a' })
      expect(await ledger.end(its, settled(5), atMs)).toMatchObject({ outcome: 'settled' })
      expect(await other.end(others, settled(5), atMs)).toBeUndefined()
      for (const each of processes) await each.close()
      expect(await figures(sliced, atMs)).toEqual(standing(2, 1))
      await redis.client.flushall()
    }
  })

  test('is not asked for when it ends where it was decided', async () => {
    const ledger = open(given)
    await ledger.reserve(requestOf('a'), atMs)
    expect(ledger.spoilt.decisions).toBe(0)
    await ledger.expire(atMs)
    expect(await ledger.end('a', settled(5), atMs)).toMatchObject({ outcome: 'settled' })
    expect(ledger.spoilt.finds).toBe(0)
  })

  test('is asked for once when it ends by the id of its other answer, at any process', async () => {
    const [one, other, third] = [open(given), open(given), open(given)]
    for (const [index, ledger] of [one, other, third].entries()) {
      await ledger.reserve(requestOf(`warm ${String(index)}`), atMs)
    }
    for (const ledger of [other, third]) {
      const stream = ledger === other ? 'a' : 'b'
      await one.reserve(requestOf(stream), atMs)
      await one.expire(atMs)
      const id = `other ${stream}`
      await other.reserve({ ...requestOf(stream), id }, atMs)
      for (const each of [other, third]) await each.expire(atMs)
      expect(await ledger.find(id, atMs)).toMatchObject({ id: stream })
      expect(await ledger.end(id, settled(5), atMs)).toMatchObject({ outcome: 'settled' })
      expect(ledger.spoilt.finds).toBe(1)
    }
  })

  test('is known to the one that asked Redis for it before', async () => {
    const ledger = open({ ...given, tuning: {} })
    await ledger.reserve(requestOf('a'), atMs)
    await ledger.reserve(requestOf('b'), atMs)
    const again = await ledger.reserve({ ...requestOf('a'), id: 'c' }, atMs)
    expect(again).toMatchObject({ repeated: true, reservation: { id: 'a' } })
  })

  test('keeps what a second answer of the same process carries', async () => {
    const ledger = open()
    await ledger.reserve(requestOf('a'), nowMs())
    const again = await ledger.reserve({ ...requestOf('a'), id: 'b' }, nowMs())
    expect(again).toMatchObject({ repeated: true, reservation: { id: 'a' } })
    expect(await ledger.abandon('a', nowMs())).toBeUndefined()
    await ledger.expire(nowMs())
    expect(await ledger.abandon('a', nowMs())).toBeUndefined()
    expect(await ledger.end('a', settled(5), nowMs())).toMatchObject({ outcome: 'settled' })
  })

  test.each(['before Redis knows of it', 'when Redis knows of it'])(
    'gives back what none of its answers carries any more, %s',
    async (when) => {
      const ledger = open(given)
      await ledger.reserve(requestOf('a'), atMs)
      expect(await ledger.reserve({ ...requestOf('a'), id: 'b' }, atMs)).toMatchObject({
        carrier: 'b',
      })
      if (when === 'when Redis knows of it') await ledger.expire(atMs)
      expect(await ledger.abandon('a', atMs)).toBeUndefined()
      expect(await ledger.abandon('a', atMs, 'b')).toMatchObject({ outcome: 'released' })
      await ledger.close()
      expect(await figures(sliced, atMs)).toEqual(standing(0))
    },
  )

  test('gives back what the answers of both carried', async () => {
    const processes = [open(given), open(given)] as const
    for (const [index, ledger] of processes.entries()) {
      await ledger.reserve(requestOf(`warm ${String(index)}`), atMs)
    }
    for (const [index, ledger] of processes.entries()) {
      await ledger.reserve({ ...requestOf('a'), id: `a${String(index)}` }, atMs)
    }
    for (const ledger of processes) await ledger.expire(atMs)
    expect(await processes[0].abandon('a0', atMs)).toBeUndefined()
    expect(await processes[1].abandon('a1', atMs)).toMatchObject({ outcome: 'released' })
    for (const ledger of processes) await ledger.close()
    expect(await figures(sliced, atMs)).toEqual(standing(2))
  })

  test('adopts for the other answer what one of them gave up meanwhile', async () => {
    const ledger = open(given)
    await ledger.reserve(requestOf('a'), atMs)
    await ledger.reserve({ ...requestOf('a'), id: 'b' }, atMs)
    ledger.spoilt.loseTurns = true
    await expect(ledger.expire(atMs)).rejects.toThrow(DependencyError)
    expect(await ledger.abandon('a', atMs)).toBeUndefined()
    ledger.spoilt.loseTurns = false
    await ledger.expire(atMs)
    const plain = openPlain()
    expect(await plain.find('a', atMs)).toMatchObject({ context: 'context of a' })
    expect(await ledger.abandon('a', atMs, 'b')).toMatchObject({ outcome: 'released' })
  })

  test('with more answers than are remembered is ended by its report alone', async () => {
    const ledger = open(given)
    const ids = ['a', ...Array.from({ length: 16 }, (_, index) => `again ${String(index)}`)]
    for (const id of ids) await ledger.reserve({ ...requestOf('a'), id }, atMs)
    await ledger.expire(atMs)
    for (const id of ids) expect(await ledger.abandon('a', atMs, id)).toBeUndefined()
    expect(await ledger.end('a', settled(5), atMs)).toMatchObject({ outcome: 'settled' })
  })
})

describe('an answer that is lost', () => {
  let next = 0

  /** Decides one from slices; under another id each time, since one that failed is given up. */
  function decide(ledger: Ledger<string>): Promise<string> {
    return eventually(async () => {
      const id = `r${String((next += 1))}`
      await ledger.reserve(requestOf(id), nowMs())
      return id
    })
  }

  /** Everything was told, and nothing is held ahead: twice, since slices may have been on their way. */
  async function settle(ledger: Ledger<string>): Promise<void> {
    for (let times = 0; times < 2; times += 1) {
      await eventually(() => ledger.expire(nowMs()))
      await eventually(() => ledger.balances(holdsOf(sliced), nowMs()))
    }
  }

  test('charges once what was decided from slices', async () => {
    const ledger = open({ throughProxy: true, timeoutMs: 25 })
    let made = 0
    let ended = 0
    for (let lost = 0; lost < runs(5); lost += 1) {
      await decide(ledger)
      made += 1
      proxy.dropAnswers(true)
      const id = `r${String((next += 1))}`
      // Where its slices were over at this very moment it has failed, and is given up.
      const held = await ledger.reserve(requestOf(id), nowMs()).catch(() => undefined)
      await expect(ledger.expire(nowMs())).rejects.toThrow(DependencyError)
      if (held !== undefined) {
        made += 1
        await expect(ledger.end(id, settled(5), nowMs())).rejects.toThrow(DependencyError)
      }
      proxy.dropAnswers(false)
      proxy.cut()
      await eventually(() => ledger.expire(nowMs()))
      if (held === undefined) continue
      // It may have taken effect already, with its answer lost.
      await eventually(() => ledger.end(id, settled(5), nowMs()))
      ended += 1
    }
    expect(ended).toBeGreaterThan(0)
    await settle(ledger)
    expect(await figures()).toEqual(standing(made - ended, ended))
  })

  test('of a taking holds nothing', async () => {
    const ledger = open({ throughProxy: true, timeoutMs: 25 })
    await eventually(() => ledger.balances(holdsOf(sliced), nowMs()))
    proxy.dropAnswers(true)
    await expect(ledger.reserve(requestOf('a'), nowMs())).rejects.toThrow(DependencyError)
    await eventually(async () => {
      expect((await figures())[0]?.[1]).toBeGreaterThan(0)
    })
    proxy.dropAnswers(false)
    proxy.cut()
    await settle(ledger)
    expect(await figures()).toEqual(standing(0))
  })

  test.each(['that took effect', 'that did not'])(
    'of a turn %s charges nothing that is abandoned meanwhile',
    async (which) => {
      const ledger = open({ throughProxy: true, timeoutMs: 25 })
      const id = await decide(ledger)
      if (which === 'that took effect') proxy.dropAnswers(true)
      else redis.pause()
      await expect(ledger.expire(nowMs())).rejects.toThrow(DependencyError)
      await ledger.abandon(id, nowMs()).catch(() => undefined)
      if (which === 'that took effect') proxy.dropAnswers(false)
      else redis.resume()
      proxy.cut()
      await settle(ledger)
      expect(await openPlain().find(id, nowMs())).toBeUndefined()
      expect(await figures()).toEqual(standing(0))
    },
  )
})

describe('a turn that does not come through', () => {
  test('adopts nothing later that was abandoned before', async () => {
    const ledger = open(given)
    await ledger.reserve(requestOf('a'), atMs)
    ledger.spoilt.loseTurns = true
    await expect(ledger.expire(atMs)).rejects.toThrow(DependencyError)
    expect(await ledger.abandon('a', atMs)).toBeUndefined()
    ledger.spoilt.loseTurns = false
    await ledger.expire(atMs)
    expect(await ledger.find('a', atMs)).toBeUndefined()
    await ledger.close()
    expect(await figures(sliced, atMs)).toEqual(standing(0))
  })

  test('lets nobody decide anew what it may have adopted', async () => {
    const ledger = open(given)
    await ledger.reserve(requestOf('a'), atMs)
    ledger.spoilt.loseTurns = true
    await expect(ledger.expire(atMs)).rejects.toThrow(DependencyError)
    const again = { ...requestOf('a'), id: 'b' }
    await expect(ledger.reserve(again, atMs)).rejects.toThrow(DependencyError)
    ledger.spoilt.loseTurns = false
    expect(await ledger.reserve(again, atMs)).toMatchObject({
      repeated: true,
      reservation: { id: 'a' },
    })
  })

  test('adopts what was decided when it comes, long after its slices are over', async () => {
    const ledger = open(given)
    await ledger.reserve(requestOf('a'), atMs)
    ledger.spoilt.loseTurns = true
    await expect(ledger.end('a', settled(5), atMs)).rejects.toThrow(DependencyError)
    ledger.spoilt.loseTurns = false
    const laterMs = atMs + 30_000
    expect(await ledger.end('a', settled(5), laterMs)).toMatchObject({ outcome: 'settled' })
    await ledger.close()
    expect(await figures(sliced, laterMs)).toEqual(standing(0, 1))
  })

  test('of a lease that is long over takes no place that another has by now', async () => {
    const ledger = open(given)
    await ledger.reserve(requestOf('a', [parallel], 1000), atMs)
    ledger.spoilt.loseTurns = true
    const laterMs = atMs + 2000
    await openPlain('given').reserve(requestOf('b', [parallel]), atMs)
    await open(given).expire(laterMs)
    ledger.spoilt.loseTurns = false
    await ledger.end('a', settled(5), laterMs)
    expect(await figures([parallel], laterMs)).toEqual([[0, 1, 0]])
  })
})

describe('a partition that this release cannot read', () => {
  test('keeps no other from being decided, adopted and ended', async () => {
    const ledger = open(given)
    for (const quota of [hour, month]) await ledger.reserve(requestOf(quota.name, [quota]), atMs)
    // What was decided is not told before.
    ledger.spoilt.loseTurns = true
    const putBack = await makeUnreadable(redis.client, 'tg2:{0}:p:month a')
    ledger.spoilt.loseTurns = false
    await ledger.expire(atMs)
    const { decisions } = ledger.spoilt
    await ledger.reserve(requestOf('more', [hour]), atMs)
    expect(ledger.spoilt.decisions).toBe(decisions)
    for (const id of ['hour', 'more']) {
      expect(await ledger.end(id, settled(5), atMs)).toMatchObject({ outcome: 'settled' })
    }
    expect(await figures([hour], atMs)).toEqual([[10, expect.any(Number), 0]])
    const bad = requestOf('bad', [month])
    await expect(ledger.reserve(bad, atMs)).rejects.toThrow(DependencyError)
    // Its report is not lost.
    await expect(ledger.end('month', settled(5), atMs)).rejects.toThrow(DependencyError)
    await putBack()
    expect(await ledger.end('month', settled(5), atMs)).toMatchObject({ outcome: 'settled' })
    await ledger.close()
    expect((await figures([hour], atMs))[0]).toEqual([10, 0, 0])
  })

  test('has what was decided of it adopted when it can be read', async () => {
    const ledger = open(given)
    for (const id of ['a', 'b', 'c']) await ledger.reserve(requestOf(id, [month]), atMs)
    const putBack = await makeUnreadable(redis.client, 'tg2:{0}:p:month a')
    for (let times = 0; times < 3; times += 1) await ledger.expire(atMs)
    await putBack()
    // One is tried again, and the others after it.
    for (let times = 0; times < 3; times += 1) await ledger.expire(atMs)
    for (const id of ['a', 'b', 'c']) {
      expect(await openPlain('given').find(id, atMs)).toMatchObject({ id })
    }
  })

  test('has what was decided of it adopted by a process that stops, when it can be read', async () => {
    const ledger = open(given)
    const ids = Array.from({ length: 40 }, (_, index) => `r${String(index)}`)
    for (const id of ids) await ledger.reserve(requestOf(id, [month]), atMs)
    const putBack = await makeUnreadable(redis.client, 'tg2:{0}:p:month a')
    await ledger.expire(atMs)
    await putBack()
    await ledger.close()
    const other = openPlain('given')
    for (const id of ids) expect(await other.find(id, atMs)).toMatchObject({ id })
  })

  test('has no more than 256 of its reservations wait for that', async () => {
    const ledger = open(given)
    const ids = Array.from({ length: 260 }, (_, index) => `r${String(index)}`)
    const request = (id: string) => ({ ...requestOf(id), holds: [holdOf(month, 0)] })
    await ledger.reserve(request('first'), atMs)
    ledger.spoilt.loseTurns = true
    for (const id of ids) await ledger.reserve(request(id), atMs)
    await makeUnreadable(redis.client, 'tg2:{0}:p:month a')
    ledger.spoilt.loseTurns = false
    await ledger.expire(atMs)
    const ends = await Promise.allSettled(ids.map((id) => ledger.end(id, settled(5), atMs)))
    expect(ends.filter(({ status }) => status === 'rejected').length).toBeGreaterThanOrEqual(255)
    expect(ends.filter(({ status }) => status === 'fulfilled').length).toBeGreaterThanOrEqual(4)
  })

  test('has its places in flight come back though nobody looked for long, or it was not there', async () => {
    const dying = open(given)
    const holds = [holdOf(parallel, 1)]
    await dying.reserve({ ...requestOf('a', [], 1000), holds }, atMs)
    dying.spoilt.kill()
    const [key = '', state = ''] = ['tg2:{0}:s:parallel a', 'tg2:{0}:p:parallel a']
    expect(await redis.client.pttl(key)).toBeGreaterThan(86_400_000)
    // As while a slot is moved.
    await redis.client.rename(state, `${state} elsewhere`)
    await open(given).expire(atMs + 2000)
    await redis.client.rename(`${state} elsewhere`, state)
    const other = open(given)
    expect((await other.balances(holds, atMs + 2000))[0]?.reserved).toBeGreaterThan(0)
    await other.expire(atMs + 62_000)
    expect(await other.balances(holds, atMs + 62_000)).toMatchObject([{ reserved: 0 }])
  })

  test('keeps no place in flight of another from coming back', async () => {
    const dying = open(given)
    // The last one is adopted by nobody: what it has in flight is in its slice.
    for (const partition of ['b', 'a']) {
      const holds = [holdOf(parallel, 1, partition)]
      await dying.reserve({ ...requestOf(partition, [], 1000), holds }, atMs)
    }
    dying.spoilt.kill()
    await makeUnreadable(redis.client, 'tg2:{0}:p:parallel a')
    const laterMs = atMs + 2000
    await open(given).expire(laterMs)
    const [balance] = await openPlain('given').balances([holdOf(parallel, 1, 'b')], laterMs)
    expect(balance).toMatchObject({ reserved: 0 })
  })
})

describe('a process that dies', () => {
  test('takes at most a tenth of the limit along, whoever asks on', async () => {
    const [attempts, limit, amount] = [1000, 1000, 4]
    const quota = quotaOf({ name: 'raced', limit, window: calendar('day'), slices: true })
    for (let run = 0; run < fewRuns;) {
      await redis.client.flushall()
      const processes = [open(), open(), open(), open()]
      const [dying] = processes
      let admitted = 0
      let next = 0
      let given = 0
      let dead = false
      if (dying !== undefined) {
        dying.spoilt.onGiven = () => {
          // The second follows from what the first was asked for.
          given += 1
          if (given < 2) return
          dead = true
          dying.spoilt.kill()
        }
      }
      const ask = async (ledger: ReturnType<typeof open>): Promise<void> => {
        for (let alive = true; alive && next < attempts;) {
          const id = String((next += 1))
          const holds = [holdOf(quota, amount)]
          const request = { id, idempotencyKey: id, holds, context: '', leaseMs: 60_000 }
          const answered = ledger.reserve(request, nowMs())
          // One that is killed answers nobody; another answers.
          if (ledger === dying) answered.catch(() => undefined)
          const answer = await Promise.race([ledger.spoilt.died, answered])
          alive = answer !== undefined
          if (answer?.kind === 'held') admitted += amount
        }
      }
      await Promise.all(processes.flatMap((ledger) => [ask(ledger), ask(ledger)]))
      // The others had all that may be in slices at once: it says nothing.
      if (!dead) continue
      run += 1
      const decisions = processes.reduce((sum, { spoilt }) => sum + spoilt.decisions, 0)
      const [[, reserved = NaN] = []] = await figures([quota])
      process.stdout.write(
        `slices on one server: ${String(admitted)} of ${String(limit)} admitted, one of four processes killed; Redis decided ${String(decisions)} of ${String(next)}\n`,
      )
      expect(decisions).toBeLessThan(next)
      // It had a slice.
      expect(reserved).toBeGreaterThan(admitted)
      expect(reserved).toBeLessThanOrEqual(limit)
      expect(admitted).toBeGreaterThanOrEqual(0.9 * limit)
    }
  })

  test('takes no more along if there are many', async () => {
    const quota = { ...month, limit: 1000 }
    let admitted = 0
    for (let index = 0; index < 25; index += 1) {
      const ledger = open()
      const holds = [holdOf(quota, 1)]
      const answer = await ledger.reserve({ ...requestOf(`r${String(index)}`), holds }, nowMs())
      if (answer.kind === 'held') admitted += 1
      ledger.spoilt.kill()
    }
    const reserved = (await figures([quota]))[0]?.[1] ?? NaN
    expect(reserved).toBeGreaterThanOrEqual(admitted)
    expect(reserved - admitted).toBeGreaterThan(20)
    expect(reserved - admitted).toBeLessThanOrEqual(quota.limit / 10)
  })

  test('leaves its places in flight to the lease, which another process ends', async () => {
    const quotas = [parallel]
    const leaseMs = 5000
    const dying = open(given)
    await dying.reserve(requestOf('a', quotas, leaseMs), atMs)
    await dying.expire(atMs)
    await dying.reserve(requestOf('b', quotas, leaseMs), atMs)
    dying.spoilt.kill()
    const other = open(given)
    const [[, held]] = (await figures(quotas, atMs)) as [[number, number, number]]
    expect(held).toBeGreaterThan(10)
    // Its one reservation, and then what it may have admitted in the last moment of its slices.
    await other.expire(atMs + leaseMs)
    expect(await figures(quotas, atMs + leaseMs)).toEqual([[0, held - 1, 0]])
    await other.expire(atMs + leaseMs + 1000)
    expect(await figures(quotas, atMs + leaseMs + 1000)).toEqual([[0, 0, 0]])
    expect(await redis.client.keys('tg2:{0}:[sd]*')).toEqual([])
  })
})
