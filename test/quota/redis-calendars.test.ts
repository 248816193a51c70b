import { describe, expect, test } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { UndecidedError } from '../../src/errors.js'
import { createCalendarSource } from '../../src/quota/redis/calendars.js'
import { createRedisLedger } from '../../src/quota/redis/redis-ledger.js'
import { openStore } from '../../src/store/store.js'
import { onEmptyRedis } from './on-redis.js'
import { calendar, holdOf, quotaOf } from './quotas.js'

// Scripts know the calendar windows that a call brings, and go by the moment that they find in Redis.

const on = onEmptyRedis()

/** As one process would have it, at its own moments; or at that of Redis, which it takes for another. */
function open(takenForMs?: number) {
  const store = openStore(on.redis.address, { clock: systemClock, random: Math.random })
  let asked = 0
  const counting: typeof store = {
    ...store,
    run: (...call) => {
      asked += 1
      return store.run(...call)
    },
    nowMs: () => takenForMs,
  }
  const moments = takenForMs === undefined ? 'given' : 'redis'
  const options = { clock: systemClock, timeoutMs: 5000, moments } as const
  const ledger = createRedisLedger<string>({ ...options, store: counting })
  on.ledgers.push(ledger)
  return { ledger, asked: () => asked }
}

const berlin = calendar('day', 'Europe/Berlin')
/** The day on which the clocks there go forward: the window around it, the one before, the one after. */
const [before, start, end, after] = [
  '2026-03-27T23:00:00Z',
  '2026-03-28T23:00:00Z',
  '2026-03-29T22:00:00Z',
  '2026-03-30T22:00:00Z',
].map(Date.parse) as [number, number, number, number]
const noon = Date.parse('2026-03-29T12:00:00Z')

test.each([start, noon, end - 1])(
  'a call brings the boundaries of three windows, at %i',
  (atMs) => {
    const calendars = createCalendarSource().around([berlin], atMs)
    expect(calendars).toEqual({ 'calendar day Europe/Berlin': [before, start, end, after] })
  },
)

test('a call whose calendars never suffice is given up, and Redis is not away for that', async () => {
  const store = openStore(on.redis.address, { clock: systemClock, random: Math.random })
  let asked = 0
  const insatiable: typeof store = {
    ...store,
    run: async () => {
      asked += 1
      return ['uncovered', noon, noon, 'calendar day Europe/Berlin', before]
    },
  }
  const parts = { store: insatiable, clock: systemClock, timeoutMs: 5000 }
  const ledger = createRedisLedger<string>(parts)
  on.ledgers.push(ledger)
  const holds = [holdOf(quotaOf({ window: berlin }), 1)]
  const request = { id: 'r', idempotencyKey: 'k', holds, context: '', leaseMs: 1000 }
  await expect(ledger.reserve(request, noon)).rejects.toThrow(UndecidedError)
  expect(asked).toBe(64)
})

describe('where Redis is at another moment than the process', () => {
  const quotas = ['one', 'other'].map((name) =>
    quotaOf({ name, window: name === 'one' ? berlin : calendar('day', 'Asia/Tokyo') }),
  )
  const berlinAlone = [holdOf(quotaOf({ window: berlin }), 60)]
  const requestOf = (id: string, holds = berlinAlone) => {
    return { id, idempotencyKey: id, holds, context: '', leaseMs: 86_400_000 * 10 }
  }

  /** What a second process is told, at noon, of a partition that was seen at another moment. */
  async function secondAfter(atMs: number, holds = berlinAlone) {
    await open().ledger.reserve(requestOf('first', holds), atMs)
    const { ledger, asked } = open()
    const answer = await ledger.reserve(requestOf('second', holds), noon)
    return { answer, asked: asked() }
  }

  test.each([
    ['the first of the next window', end],
    ['the last of the next window', after - 1],
  ])('%s is known from one call, and counts there', async (_, atMs) => {
    const { answer, asked } = await secondAfter(atMs)
    expect(answer).toMatchObject({
      kind: 'short',
      retryAfterMs: after - atMs,
      balances: [{ reserved: 60, resetMs: after - atMs }],
    })
    expect(asked).toBe(1)
  })

  test('one beyond the next window is asked for again, and counts there', async () => {
    const { answer, asked } = await secondAfter(after)
    expect(answer).toMatchObject({ kind: 'short', balances: [{ reserved: 60 }] })
    expect(asked).toBe(2)
  })

  test('what was spent in the window before is free in the next, also from one call', async () => {
    await open().ledger.reserve(requestOf('first'), noon)
    const { ledger, asked } = open()
    await open().ledger.reserve(requestOf('none', [holdOf(quotaOf({ window: berlin }), 0)]), end)
    expect(await ledger.reserve(requestOf('second'), noon)).toMatchObject({ kind: 'held' })
    expect(asked()).toBe(1)
  })

  test('a process that is a window behind counts in the one that Redis is in, from one call', async () => {
    const holds = [holdOf(quotaOf({ window: calendar('month') }), 60)]
    const now = new Date()
    const { ledger, asked } = open(Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), 1) - 1)
    expect(await ledger.reserve(requestOf('first', holds), 0)).toMatchObject({ kind: 'held' })
    expect(asked()).toBe(1)
    const [balance] = await open(Date.now()).ledger.balances(holds, 0)
    expect(balance?.reserved).toBe(60)
  })

  test('all calendars of a call follow it, so that it is asked again once', async () => {
    const holds = quotas.map((quota) => holdOf(quota, 60))
    const { answer, asked } = await secondAfter(noon + 10 * 86_400_000, holds)
    expect(answer).toMatchObject({ kind: 'short' })
    expect(asked).toBe(2)
  })
})
