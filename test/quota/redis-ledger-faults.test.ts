import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { DependencyError } from '../../src/errors.js'
import type { End, Ended, Found, Ledger } from '../../src/quota/ledger.js'
import { partitionKey } from '../../src/quota/keys.js'
import { createRedisLedger } from '../../src/quota/redis/redis-ledger.js'
import { loadRedisScripts } from '../../src/quota/redis/scripts.js'
import { openStore, UnansweredError } from '../../src/store/store.js'
import type { Store, StoreAddress } from '../../src/store/store.js'
import { startFaultProxy } from '../fault-proxy.js'
import type { FaultProxy } from '../fault-proxy.js'
import { addressOf, startRedis } from '../redis-server.js'
import type { RedisServer } from '../redis-server.js'
import { runs } from '../runs.js'
import { calendar, holdOf, quotaOf } from './quotas.js'

// What the contract cannot say, since the memory ledger has no such faults: several processes, answers that are
// lost, a Redis that hangs, forgets, or shows another time. Moments are Redis's own here, as in production.

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

interface Differences {
  readonly address?: StoreAddress
  readonly timeoutMs?: number
  readonly spoil?: (store: Store) => Store
}

/** As one process would have it, at the moments that the test passes. */
function openGiven() {
  const store = openStore(redis.address, { clock: systemClock, random: Math.random })
  const options = { timeoutMs: 5000, moments: 'given' } as const
  const ledger = createRedisLedger<string>({ store, clock: systemClock, ...options })
  ledgers.push(ledger)
  return ledger
}

/** As one process would have it. */
function open({ address = redis.address, timeoutMs = 5000, spoil }: Differences = {}) {
  const store = openStore(address, { clock: systemClock, random: Math.random })
  const spoilt = spoil?.(store) ?? store
  const ledger = createRedisLedger<string>({ store: spoilt, clock: systemClock, timeoutMs })
  ledgers.push(ledger)
  return ledger
}

function throughProxy(timeoutMs?: number) {
  const address = addressOf(`redis://127.0.0.1:${String(proxy.port)}`)
  return open(timeoutMs === undefined ? { address } : { address, timeoutMs })
}

const month = quotaOf({ name: 'month', limit: 1000, window: calendar('month') })
const minute = quotaOf({ name: 'minute', limit: 1000 })
const parallel = quotaOf({ name: 'parallel', unit: 'in_flight', window: { kind: 'open' } })

function requestOf(id: string, amount = 10, leaseMs = 60_000) {
  const holds = [holdOf(month, amount), holdOf(minute, amount), holdOf(parallel, 1)]
  return { id, idempotencyKey: `stream ${id}`, holds, context: `context of ${id}`, leaseMs }
}

const nowMs = (): number => Date.now()
const settled = (tokens: number): End => {
  return { kind: 'settled', inputTokens: tokens, outputTokens: 0 }
}

/** Spent, reserved and debt of each quota. */
async function figures(ledger: Ledger<string>): Promise<number[][]> {
  const balances = await ledger.balances(requestOf('any').holds, nowMs())
  return balances.map(({ spent, reserved, debt }) => [spent, reserved, debt])
}

const untouched = [
  [0, 0, 0],
  [0, 0, 0],
  [0, 0, 0],
]

function eventually<T>(ask: () => Promise<T> | T): Promise<T> {
  return vi.waitFor(ask, { timeout: 20_000, interval: 10 })
}

describe('several processes on one Redis', () => {
  test('share limits, find and end the reservations of each other', async () => {
    const [one, other] = [open(), open()]
    await one.reserve(requestOf('a', 600), nowMs())
    expect(await other.reserve(requestOf('b', 600), nowMs())).toMatchObject({ kind: 'short' })
    const { heldMs, ...reservation } = (await other.find('a', nowMs())) as Found<string>
    expect(heldMs).toBeUndefined()
    expect(reservation).toMatchObject({
      id: 'a',
      context: 'context of a',
      holds: requestOf('a', 600).holds,
    })
    expect(await other.end('a', settled(700), nowMs())).toEqual({
      reservation,
      outcome: 'settled',
      late: false,
      charges: [
        { actual: 700, debt: 100 },
        { actual: 700, debt: 100 },
        { actual: 1, debt: 0 },
      ],
    })
    expect(await one.end('a', settled(700), nowMs())).toBeUndefined()
    expect(await one.find('a', nowMs())).toBeUndefined()
  })

  test('hold once what is asked of two of them under one key', async () => {
    const [one, other] = [open(), open()]
    const request = requestOf('a')
    const answers = await Promise.all([
      one.reserve(request, nowMs()),
      other.reserve({ ...request, id: 'b', context: 'another' }, nowMs()),
    ])
    expect(answers.map((answer) => answer.kind === 'held' && answer.repeated).sort()).toEqual([
      false,
      true,
    ])
    const ids = answers.map((answer) => answer.kind === 'held' && answer.reservation.id)
    expect(new Set(ids).size).toBe(1)
    expect((await figures(one)).map(([, reserved]) => reserved)).toEqual([10, 10, 1])
  })

  test('end each lease once', async () => {
    const processes = [open(), open(), open()]
    for (let index = 0; index < 100; index += 1) {
      await processes[index % 3]?.reserve(requestOf(`r${String(index)}`, 1, 0), nowMs())
    }
    const ended: Ended<string>[] = []
    for (let turn = 0; turn < 4; turn += 1) {
      const told = await Promise.all(processes.map((ledger) => ledger.expire(nowMs())))
      ended.push(...told.flat())
    }
    expect(new Set(ended.map(({ reservation }) => reservation.context)).size).toBe(100)
    expect(ended).toHaveLength(100)
    expect(await figures(open())).toEqual([
      [100, 0, 0],
      [100, 0, 0],
      [0, 0, 0],
    ])
  })

  test('admit exactly the limit, whoever asks', async () => {
    const attempts = runs(2500)
    const processes = [open(), open(), open(), open()]
    const quota = quotaOf({
      name: 'raced',
      limit: Math.floor(attempts / 10),
      window: calendar('day'),
    })
    let admitted = 0
    let next = 0
    const ask = async (ledger: Ledger<string>): Promise<void> => {
      while (next < attempts) {
        const id = String((next += 1))
        const answer = await ledger.reserve(
          { id, idempotencyKey: id, holds: [holdOf(quota, 1)], context: '', leaseMs: 60_000 },
          nowMs(),
        )
        if (answer.kind === 'held') admitted += 1
      }
    }
    await Promise.all(processes.flatMap((ledger) => Array.from({ length: 64 }, () => ask(ledger))))
    expect(admitted).toBe(quota.limit)
  })

  test('see a clock of this machine that is an hour off, and go by that of Redis', async () => {
    const [ahead, behind] = [open(), open()]
    const quota = quotaOf({ name: 'minute', limit: 10, window: calendar('minute') })
    const reserve = (ledger: Ledger<string>, id: string, atMs: number) =>
      ledger.reserve({ ...requestOf(id), holds: [holdOf(quota, 4), holdOf(month, 4)] }, atMs)
    const redisMs = Number((await redis.client.time())[0]) * 1000
    const answers = [
      await reserve(ahead, 'a', redisMs + 3_600_000),
      await reserve(behind, 'b', redisMs - 3_600_000),
    ]
    for (const answer of answers) {
      if (answer.kind !== 'held') throw new Error('short')
      expect(Math.abs(answer.reservation.admittedAtEpochMs - redisMs)).toBeLessThan(60_000)
    }
    expect(await ahead.expire(redisMs + 3_600_000)).toEqual([])
    expect((await behind.balances([holdOf(month, 0)], redisMs))[0]).toMatchObject({ reserved: 8 })
  })
})

describe('a clock of Redis that is set back', () => {
  test('admits nothing more, nor lets a debt fall twice', async () => {
    // A process of its own for each moment, so that none remembers a later one.
    const atMs = Date.parse('2026-02-02T01:00:00Z')
    await openGiven().reserve(requestOf('a', 1000), atMs)
    for (const backMs of [1, 60_000, 3_600_000, 86_400_000]) {
      const answer = await openGiven().reserve(requestOf(`b${String(backMs)}`, 1), atMs - backMs)
      expect(answer.kind).toBe('short')
    }

    // A debt of 2000 in February, of which half falls when March begins.
    await openGiven().end('a', settled(3000), atMs)
    let touches = 0
    const marchMs = Date.parse('2026-03-01T00:00:00Z')
    for (const touchedMs of [marchMs, atMs, marchMs]) {
      // The limit is another each time, so that what is only looked at is also written.
      const holds = [holdOf({ ...month, limit: 1000 + (touches += 1) }, 5000)]
      expect((await openGiven().reserve({ ...requestOf('c'), holds }, touchedMs)).kind).toBe(
        'short',
      )
    }
    expect((await openGiven().balances([holdOf(month, 0)], atMs))[0]).toMatchObject({ debt: 1000 })
    expect((await openGiven().balances([holdOf(month, 0)], marchMs))[0]).toMatchObject({
      debt: 1000,
    })
  })
})

describe('an answer that is lost', () => {
  test('leaves nothing held by a reserve, once Redis can be reached again', async () => {
    const ledger = throughProxy(25)
    const direct = open()
    for (let lost = 0; lost < runs(5); lost += 1) {
      const id = `r${String(lost)}`
      await eventually(() => ledger.balances([holdOf(month, 0)], nowMs()))
      proxy.dropAnswers(true)
      await expect(ledger.reserve(requestOf(id), nowMs())).rejects.toThrow(DependencyError)
      proxy.dropAnswers(false)
      proxy.cut()
      await eventually(async () => {
        await ledger.expire(nowMs())
        expect(await figures(direct)).toEqual(untouched)
      })
      expect(await direct.find(id, nowMs())).toBeUndefined()
    }
  })

  test('charges an end once, however often it is said again', async () => {
    const ledger = throughProxy(25)
    await open().reserve(requestOf('other'), nowMs())
    await open().end('other', { kind: 'released' }, nowMs())
    await open().reserve(requestOf('a'), nowMs())
    await eventually(() => figures(ledger))
    await ledger.find('a', nowMs())
    proxy.dropAnswers(true)
    await expect(ledger.end('a', settled(25), nowMs())).rejects.toThrow(DependencyError)
    proxy.dropAnswers(false)
    proxy.cut()
    expect(await eventually(() => ledger.end('a', settled(25), nowMs()))).toBeUndefined()
    expect(await figures(ledger)).toEqual([
      [10, 0, 15],
      [10, 0, expect.any(Number)],
      [0, 0, 0],
    ])
  })

  const released: End = { kind: 'released' }
  test.each([
    ['settled', false, settled(5), [5, 5, 1], [5, 5, 0]],
    ['settled', true, settled(5), [5, 5, 1], [5, 5, 0]],
    ['released', false, released, [0, 0, 0], [0, 0, 0]],
    ['released', true, released, [0, 0, 0], [0, 0, 0]],
  ] as const)(
    'of an end is told again to its report alone: %s, late: %s',
    async (outcome, late, end, actuals, spent) => {
      const ledger = throughProxy(100)
      const direct = open()
      await direct.reserve(requestOf('other'), nowMs())
      await direct.end('other', released, nowMs())
      await direct.reserve(requestOf('a', 10, late ? 1 : 60_000), nowMs())
      if (late) {
        await eventually(async () => {
          expect(await direct.expire(nowMs())).toMatchObject([{ outcome: 'unsettled' }])
        })
      }
      // So that it is asked once: Redis knows the script, and the process the windows.
      await eventually(() => figures(ledger))
      await ledger.find('a', nowMs())
      const tries = {}
      proxy.dropAnswers(true)
      await expect(ledger.end('a', end, nowMs(), tries)).rejects.toThrow(DependencyError)
      proxy.dropAnswers(false)
      proxy.cut()
      expect(await open().find('a', nowMs())).toBeUndefined()
      expect(await direct.end('a', end, nowMs(), {})).toBeUndefined()
      for (let times = 0; times < 2; times += 1) {
        expect(await eventually(() => ledger.end('a', end, nowMs(), tries))).toMatchObject({
          ...{ reservation: { id: 'a', context: 'context of a' }, outcome, late },
          charges: actuals.map((actual) => ({ actual })),
        })
      }
      const left = (await figures(direct)).map(([figure, reserved]) => [figure, reserved])
      expect(left).toEqual(spent.map((figure) => [figure, 0]))
      // What was released holds nothing for a repeat.
      const again = await direct.reserve({ ...requestOf('a'), id: 'b' }, nowMs())
      expect(again).toMatchObject({ kind: 'held', repeated: end.kind !== 'released' })
    },
  )

  test('of a release, told again, says nothing of where its quotas stand by then', async () => {
    const ledger = throughProxy(100)
    const direct = open()
    await eventually(() => figures(ledger))
    await eventually(() => ledger.reserve(requestOf('a'), nowMs()))
    await ledger.find('a', nowMs())
    const tries = {}
    proxy.dropAnswers(true)
    await expect(ledger.end('a', released, nowMs(), tries)).rejects.toThrow(DependencyError)
    proxy.dropAnswers(false)
    proxy.cut()
    await direct.reserve(requestOf('all', 1000), nowMs())
    const another = requestOf('another')
    expect(await eventually(() => ledger.reserve(another, nowMs()))).toMatchObject({
      kind: 'short',
    })
    expect(await ledger.end('a', released, nowMs(), tries)).toMatchObject({ outcome: 'released' })
    expect(await ledger.exhausted(another, nowMs())).toMatchObject({ kind: 'short' })
  })

  test('of a reserve that is repeated meanwhile keeps what the other answer carries', async () => {
    const ledger = throughProxy(1000)
    const direct = open()
    await eventually(() => ledger.balances([holdOf(month, 0)], nowMs()))
    proxy.dropAnswers(true)
    const abandoned = ledger.reserve(requestOf('a'), nowMs())
    await eventually(async () => expect(await direct.find('a', nowMs())).toBeDefined())
    const again = await direct.reserve({ ...requestOf('a'), id: 'b' }, nowMs())
    expect(again).toMatchObject({ repeated: true, reservation: { id: 'a' } })
    await expect(abandoned).rejects.toThrow(DependencyError)
    proxy.dropAnswers(false)
    proxy.cut()
    await eventually(() => ledger.expire(nowMs()))
    expect((await figures(direct)).map(([, reserved]) => reserved)).toEqual([10, 10, 1])
  })

  test('of a repeat with other holds says nothing of where those stand', async () => {
    let losing = true
    const { reserve, end } = loadRedisScripts()
    const other = open({
      spoil: (store) => ({
        ...store,
        async run(script, ...rest) {
          if (losing && script.digest === end.digest) throw new DependencyError('ledger', 'away')
          const reply = await store.run(script, ...rest)
          if (script.digest === reserve.digest) throw new UnansweredError('lost')
          return reply
        },
      }),
    })
    const one = open()
    const holdsOf = (name: string, limit: number) => [holdOf(quotaOf({ name, limit }), 10)]
    const wide = holdsOf('wide', 20)
    for (const id of ['a', 'b']) await one.reserve({ ...requestOf(id), holds: wide }, nowMs())
    // It holds as much as another policy lets it ask of something else.
    const narrow = { ...requestOf('a'), id: 'c', holds: holdsOf('narrow', 10) }
    await expect(other.reserve(narrow, nowMs())).rejects.toThrow('lost')
    expect(await one.abandon('a', nowMs())).toBeUndefined()
    losing = false
    await other.expire(nowMs())
    expect(await one.balances(wide, nowMs())).toMatchObject([{ reserved: 10 }])
    expect(await other.exhausted({ ...narrow, idempotencyKey: 'd' }, nowMs())).toBeUndefined()
  })

  test('of a reserve and of its repeat leaves nothing held', async () => {
    const reserve = loadRedisScripts().reserve.digest
    const losing = (onceRun: () => Promise<void>) =>
      open({
        spoil: (store) => ({
          ...store,
          async run(script, ...rest) {
            const reply = await store.run(script, ...rest)
            if (script.digest !== reserve) return reply
            await onceRun()
            throw new UnansweredError('lost')
          },
        }),
      })
    let goOn = (): void => undefined
    const both = new Promise<void>((resolve) => {
      goOn = resolve
    })
    const [one, other] = [losing(() => both), losing(() => Promise.resolve())]
    const first = one.reserve(requestOf('a'), nowMs())
    await eventually(async () => expect(await other.find('a', nowMs())).toBeDefined())
    const second = other.reserve({ ...requestOf('a'), id: 'b' }, nowMs())
    await expect(second).rejects.toThrow(DependencyError)
    goOn()
    await expect(first).rejects.toThrow(DependencyError)
    for (const ledger of [one, other]) await ledger.expire(nowMs())
    expect(await figures(open())).toEqual(untouched)
  })
})

describe('what is given back to a Redis that cannot be reached', () => {
  /** Until all that this process still has to say has been said. */
  async function expireUntil(ledger: Ledger<string>, isSaid: () => Promise<void>) {
    const told: Ended<string>[] = []
    await eventually(async () => {
      told.push(...(await ledger.expire(nowMs())))
      await isSaid()
    })
    return told
  }

  test('has ended when that comes through, is told once, and counts here no more', async () => {
    const ledger = throughProxy(1000)
    await eventually(() => ledger.balances([holdOf(month, 0)], nowMs()))
    await ledger.reserve(requestOf('a'), nowMs())
    proxy.cut()
    await expect(ledger.abandon('a', nowMs())).rejects.toThrow(DependencyError)
    expect(ledger.size()).toMatchObject({ reservations: 1, toGiveBack: 1 })
    const told = await expireUntil(ledger, async () =>
      expect(await figures(open())).toEqual(untouched),
    )
    expect(told).toMatchObject([
      { outcome: 'released', late: false, reservation: { id: 'a', context: 'context of a' } },
    ])
    expect(ledger.size()).toEqual({ partitions: 0, reservations: 0, toGiveBack: 0 })
    expect(await ledger.expire(nowMs())).toEqual([])
  })

  test('counts here no more, though the answer that told of its end was lost', async () => {
    const ledger = throughProxy(100)
    await eventually(() => ledger.balances([holdOf(month, 0)], nowMs()))
    await ledger.reserve(requestOf('a'), nowMs())
    proxy.dropAnswers(true)
    await expect(ledger.abandon('a', nowMs())).rejects.toThrow(DependencyError)
    proxy.dropAnswers(false)
    proxy.cut()
    const told = await expireUntil(ledger, () =>
      Promise.resolve(expect(ledger.size().reservations).toBe(0)),
    )
    expect(told).toEqual([])
    expect(await figures(open())).toEqual(untouched)
  })

  test('stays where another answer carries it', async () => {
    const ledger = throughProxy(1000)
    await eventually(() => ledger.balances([holdOf(month, 0)], nowMs()))
    await ledger.reserve(requestOf('a'), nowMs())
    await open().reserve({ ...requestOf('a'), id: 'b' }, nowMs())
    proxy.cut()
    await expect(ledger.abandon('a', nowMs())).rejects.toThrow(DependencyError)
    const told = await expireUntil(ledger, () => Promise.resolve())
    expect(told).toEqual([])
    expect(ledger.size().reservations).toBe(1)
    expect((await figures(open())).map(([, reserved]) => reserved)).toEqual([10, 10, 1])
  })
})

test('an answer that comes after the deadline, over a connection that was never cut, holds and charges nothing', async () => {
  const ledger = throughProxy(1000)
  const direct = open()
  await eventually(() => ledger.balances([holdOf(month, 0)], nowMs()))
  const opened = proxy.opened()
  proxy.delayAnswers(true)
  try {
    const given = ledger.reserve(requestOf('a'), nowMs())
    await eventually(async () => expect(await direct.find('a', nowMs())).toBeDefined())
    await expect(given).rejects.toThrow(DependencyError)
    expect(proxy.delayedBytes()).toBeGreaterThan(0)
  } finally {
    proxy.delayAnswers(false)
  }
  // Answers come in order, so the late one has been read before this one, which is of its own question.
  expect(await ledger.balances([holdOf(month, 0)], nowMs())).toMatchObject([{ debt: 0 }])
  await eventually(async () => {
    await ledger.expire(nowMs())
    expect(await figures(direct)).toEqual(untouched)
  })
  expect(await direct.find('a', nowMs())).toBeUndefined()
  expect(await ledger.reserve(requestOf('b'), nowMs())).toMatchObject({ reservation: { id: 'b' } })
  expect((await figures(direct)).map(([, reserved]) => reserved)).toEqual([10, 10, 1])
  expect(proxy.opened()).toBe(opened)
})

describe('a Redis that hangs', () => {
  test('charges nothing when it goes on, though no abandon ever comes', async () => {
    const { end } = loadRedisScripts()
    const ledger = open({
      timeoutMs: 25,
      spoil: (store) => ({
        ...store,
        run: async (script, ...rest) => {
          if (script.digest === end.digest) throw new DependencyError('ledger', 'lost')
          return store.run(script, ...rest)
        },
      }),
    })
    for (let round = 0; round < runs(2); round += 1) {
      await eventually(() => ledger.balances([holdOf(month, 0)], nowMs()))
      redis.pause()
      const ghosts = Array.from({ length: 4 }, (_, ghost) =>
        ledger.reserve(requestOf(`ghost ${String(round)} ${String(ghost)}`), nowMs()),
      )
      for (const ghost of await Promise.allSettled(ghosts)) {
        expect(ghost).toMatchObject({ status: 'rejected', reason: { dependency: 'ledger' } })
      }
      redis.resume()
    }
    expect(await figures(open())).toEqual(untouched)
  })

  test('never holds what was abandoned before its reserve came', async () => {
    const ledger = open()
    expect(await ledger.abandon('a', nowMs())).toBeUndefined()
    await expect(ledger.reserve(requestOf('a'), nowMs())).rejects.toThrow(DependencyError)
    expect(await figures(ledger)).toEqual(untouched)
    expect(await ledger.find('a', nowMs())).toBeUndefined()
  })
})

test('a Redis that is told to forget its scripts under load fails no request', async () => {
  const processes = [open(), open()]
  let asking = true
  const flush = async (): Promise<number> => {
    let flushed = 0
    for (; asking; flushed += 1) await redis.client.script('FLUSH')
    return flushed
  }
  const count = runs(500)
  const quota = quotaOf({ limit: 100_000_000, window: calendar('month') })
  let next = 0
  const ask = async (ledger: Ledger<string>): Promise<void> => {
    while (next < count) {
      const id = String((next += 1))
      const request = { ...requestOf(id), holds: [holdOf(quota, 7)] }
      await ledger.reserve(request, nowMs())
      await ledger.end(id, settled(5), nowMs())
    }
  }
  const flushed = flush()
  const asked = processes.flatMap((ledger) => Array.from({ length: 32 }, () => ask(ledger)))
  await Promise.all(asked).finally(() => {
    asking = false
  })
  expect(await flushed).toBeGreaterThan(1)
  const [balance] = await open().balances([holdOf(quota, 0)], nowMs())
  expect(balance).toMatchObject({ spent: 5 * count, reserved: 0, debt: 0 })
})

test('a request that no quota binds is held, found and ended like any other', async () => {
  const [one, other] = [open(), open()]
  const request = { ...requestOf('a'), holds: [] }
  expect(await one.reserve(request, nowMs())).toMatchObject({ kind: 'held', balances: [] })
  expect(await other.find('a', nowMs())).toMatchObject({ context: 'context of a', holds: [] })
  expect(await other.reserve({ ...request, id: 'b' }, nowMs())).toMatchObject({ repeated: true })
  expect(await other.end('a', settled(9), nowMs())).toMatchObject({ charges: [] })
})

test('a Redis that is full is a failure, and still ends what is open', async () => {
  const ledger = open()
  await ledger.reserve(requestOf('a'), nowMs())
  await redis.client.config('SET', 'maxmemory', '1')
  try {
    const refused = ledger.reserve(requestOf('b'), nowMs())
    await expect(refused).rejects.toMatchObject({ message: 'Redis answered OOM' })
    expect(await ledger.end('a', settled(3), nowMs())).toMatchObject({ outcome: 'settled' })
  } finally {
    await redis.client.config('SET', 'maxmemory', '0')
  }
  expect(await figures(ledger)).toEqual([
    [3, 0, 0],
    [3, 0, 0],
    [0, 0, 0],
  ])
})

test('a user of Redis needs no more than the rights that docs/configuration.md names', async () => {
  const page = readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8')
  const rights = /^ACL SETUSER tollgate on >PASSWORD (.*)$/m.exec(page)?.[1]?.split(' ') ?? []
  expect(rights.length).toBeGreaterThan(5)
  await redis.client.call('ACL', 'SETUSER', 'tollgate', 'on', '>word', ...rights)
  const directory = mkdtempSync(join(tmpdir(), 'acl-'))
  const passwordFile = join(directory, 'password')
  writeFileSync(passwordFile, 'word')
  const ledger = open({ address: { ...redis.address, user: 'tollgate', passwordFile } })
  await redis.client.script('FLUSH')
  await ledger.reserve(requestOf('a'), nowMs())
  await ledger.reserve(requestOf('b', 1, 0), nowMs())
  expect(await ledger.expire(nowMs())).toHaveLength(1)
  expect(await ledger.end('a', settled(900), nowMs())).toMatchObject({ outcome: 'settled' })
  expect(await ledger.expire(nowMs())).toEqual([])
  expect(await ledger.find('b', nowMs())).toBeUndefined()
  expect(await ledger.balances([holdOf(month, 0)], nowMs())).toHaveLength(1)
  rmSync(directory, { recursive: true })
})

describe('the keys', () => {
  const caller = {
    tenant: 'Tenant Name',
    subject: 'subject@example.com',
    client: 'client-name',
    apiKey: 'api-key-name',
    groups: ['research'],
    model: 'model-name',
    pool: 'pool-name',
    route: '/route/name',
    spiffe: 'spiffe://spiffe.example/name',
    claims: new Map([['claim', 'claim-name']]),
  }
  const quotas = [
    quotaOf({
      name: 'quota-name',
      by: [
        'tenant',
        'subject',
        'client',
        'model',
        'pool',
        'route',
        'spiffe',
        'api_key',
        'claim:claim',
      ],
    }),
    quotaOf({ name: 'quota-day', by: ['tenant'], window: calendar('day') }),
    quotaOf({ name: 'quota-open', by: ['subject'], window: { kind: 'open' }, unit: 'in_flight' }),
  ]
  const request = (id: string, leaseMs = 60_000) => ({
    ...requestOf(id, 10, leaseMs),
    holds: quotas.map((quota) => ({ quota, partitionKey: partitionKey(quota, caller), amount: 1 })),
  })

  test('say nothing that a caller or a report could have said, and name their schema', async () => {
    const ledger = open()
    await ledger.reserve(request('reservation-id'), nowMs())
    const keys = await redis.client.keys('*')
    expect(keys).toHaveLength(6)
    for (const key of keys) {
      expect(key).toMatch(/^tg2:\{0\}:(p:\{[\w-]{0,22}\}[\w-]{22}|r:[\w-]{22}|i:[\w-]{22}|leases)$/)
    }
    const spelled = keys.join().toLowerCase()
    for (const text of [
      'tenant',
      'example',
      'name',
      'quota',
      'research',
      'stream',
      'route',
      'id',
    ]) {
      if (text !== 'id') expect(spelled).not.toContain(text)
    }
    expect(spelled).not.toContain('reservation-id')
  })

  test('of a release with another schema are left alone, and count apart', async () => {
    const others = { 'tg1:p:minute a': 'state', 'tg3:{0}:p:minute a': 'state' }
    await redis.client.mset(others)
    await redis.client.zadd('tg1:leases', 1, 'tg1:r:another')
    const ledger = open()
    await ledger.reserve(requestOf('a', 10, 0), nowMs())
    expect(await ledger.expire(nowMs())).toHaveLength(1)
    expect(await redis.client.mget(Object.keys(others))).toEqual(Object.values(others))
    expect(await redis.client.zcard('tg1:leases')).toBe(1)
    expect((await figures(ledger))[1]).toEqual([10, 0, 0])
  })

  test('all have an end, whatever happened', async () => {
    const ledger = open()
    await ledger.reserve(request('open'), nowMs())
    await ledger.reserve(request('run out', 0), nowMs())
    await ledger.expire(nowMs())
    for (const end of [settled(5), settled(500), { kind: 'released' } as const]) {
      await ledger.reserve(request(`ended ${JSON.stringify(end)}`), nowMs())
      await ledger.end(`ended ${JSON.stringify(end)}`, end, nowMs())
    }
    await ledger.abandon('unknown', nowMs())
    const keys = await redis.client.keys('*')
    expect(keys.length).toBeGreaterThan(8)
    for (const key of keys) expect(await redis.client.pttl(key)).toBeGreaterThan(0)
  })

  test('are gone at once when all was given up, or ran out in an open window', async () => {
    const ledger = open()
    await ledger.reserve(request('a'), nowMs())
    await ledger.abandon('a', nowMs())
    expect(await redis.client.keys('*')).toEqual([])

    const [, , slot] = request('b', 0).holds
    if (slot === undefined) throw new Error('no hold')
    await ledger.reserve({ ...request('b', 0), holds: [slot] }, nowMs())
    expect(await ledger.expire(nowMs())).toHaveLength(1)
    expect(await ledger.expire(nowMs())).toEqual([])
    expect(await redis.client.keys('*')).toEqual([])
  })

  test('of what a report released are one word, for as long as it may be told again', async () => {
    const ledger = open()
    await ledger.reserve(request('a'), nowMs())
    await ledger.end('a', { kind: 'released' }, nowMs())
    const [word = '', ...others] = await redis.client.keys('*')
    expect(others).toEqual([])
    expect(word).toMatch(/^tg2:\{0\}:r:/)
    expect(await redis.client.strlen(word)).toBeLessThan(100)
    expect(await redis.client.pttl(word)).toBeLessThanOrEqual(120_000)
  })

  test('of a partition that is held are kept as long as a reservation in it is', async () => {
    await open().reserve(requestOf('a'), nowMs())
    for (const key of ['minute a', 'parallel a']) {
      expect(await redis.client.pttl(`tg2:{0}:p:${key}`)).toBeGreaterThan(2 * 60_000 + 86_400_000)
    }
  })

  test('of leases are kept as long as the longest of them, whichever came last', async () => {
    const ledger = open()
    const HOUR_MS = 3_600_000
    const kept = (): Promise<number> => redis.client.pttl('tg2:{0}:leases')
    await ledger.reserve(requestOf('short', 10, 1000), nowMs())
    const shortMs = await kept()
    await ledger.reserve(requestOf('long', 10, HOUR_MS), nowMs())
    const longMs = await kept()
    // It is looked at for as long again, for a late report.
    expect(longMs).toBeGreaterThan(shortMs + HOUR_MS)
    await ledger.reserve(requestOf('short again', 10, 1000), nowMs())
    expect(await kept()).toBeGreaterThan(shortMs + HOUR_MS)
  })

  test('of a partition that were lost take nothing along of what came after', async () => {
    const ledger = openGiven()
    const atMs = Date.parse('2026-02-02T00:00:00Z')
    await ledger.reserve(requestOf('a'), atMs)
    await redis.client.del('tg2:{0}:p:month a', 'tg2:{0}:p:minute a', 'tg2:{0}:p:parallel a')
    await ledger.reserve(requestOf('b'), atMs + 1)
    await ledger.end('a', settled(25), atMs + 2)
    const balances = await ledger.balances(requestOf('any').holds, atMs + 2)
    expect(balances.map(({ reserved, debt }) => [reserved, debt])).toEqual([
      [10, 15],
      [10, 15],
      [1, 0],
    ])
  })

  test('of a reservation that were lost leave its idempotency key free', async () => {
    const ledger = open()
    await ledger.reserve(requestOf('a'), nowMs())
    await redis.client.del(...(await redis.client.keys('tg2:{0}:r:*')))
    await ledger.abandon('a', nowMs())
    const again = await ledger.reserve({ ...requestOf('a'), id: 'b' }, nowMs())
    expect(again).toMatchObject({ kind: 'held', repeated: false })
  })

  test('of a partition are kept as long as it counts, and a minute more', async () => {
    const ledger = open()
    const holds = [holdOf(minute, 10)]
    await ledger.reserve({ ...requestOf('a'), holds }, nowMs())
    await ledger.end('a', settled(10), nowMs())
    const left = await redis.client.pttl('tg2:{0}:p:minute a')
    expect(left).toBeGreaterThan(64_000 + 60_000 - 5000)
    expect(left).toBeLessThanOrEqual(65_000 + 60_000)
  })
})
