import { beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { DependencyError } from '../../src/errors.js'
import type { Ledger } from '../../src/quota/ledger.js'
import type { Quota } from '../../src/quota/quota.js'
import { createRedisLedger } from '../../src/quota/redis/redis-ledger.js'
import { loadRedisScripts } from '../../src/quota/redis/scripts.js'
import { calendar, holdOf, quotaOf } from './quotas.js'
import { onRedis } from './on-redis.js'
import { makeUnreadable } from './unreadable.js'

const DAY_MS = 86_400_000

const on = onRedis()

/** Reserves one unit under a window of this name, as a later release might spell it. */
function reserveUnder(window: string): Promise<readonly unknown[]> {
  const holds = [{ amount: 1, limit: 5, window, unit: 'tokens' }]
  const argsUntil = (untilMs: number) => [
    JSON.stringify({ id: 'r', leaseMs: 1000, untilMs, calendars: {}, holds }),
    '"context"',
    '[]',
  ]
  const keys = ['reservation', 'idempotency', 'leases', 'partition']
  return on.store.run(loadRedisScripts().reserve, keys, argsUntil, systemClock.monotonicMs() + 5000)
}

test.each(['lunar 5', 'calendar decade UTC', 'calendar fixed 1.5', 'Open'])(
  'a script does not guess at a window that it does not know, and writes nothing: %s',
  async (window) => {
    await expect(reserveUnder(window)).rejects.toThrow()
    expect(await on.redis.client.dbsize()).toBe(0)
  },
)

test('a script knows the window that it does know', async () => {
  expect((await reserveUnder('calendar fixed 60000'))[0]).toBe('held')
  expect(await on.redis.client.dbsize()).toBe(4)
})

function open(): Ledger<string> {
  const options = {
    store: on.store,
    clock: systemClock,
    timeoutMs: 5000,
    moments: 'given',
  } as const
  return createRedisLedger<string>(options)
}

test('a lease whose partition this release cannot read keeps no other from running out, and comes again', async () => {
  await on.redis.client.flushall()
  const atMs = Date.parse('2026-02-02T00:00:00Z')
  const ledger = open()
  const reserve = (id: string) =>
    ledger.reserve(
      {
        ...{ id, idempotencyKey: id, context: '', leaseMs: id === 'first' ? 1000 : 2000 },
        holds: [holdOf(quotaOf({ name: id }), 1)],
      },
      atMs,
    )
  for (const id of ['first', 'second']) await reserve(id)
  const key = 'tg2:{0}:p:first a'
  const putBack = await makeUnreadable(on.redis.client, key)
  const endedAt = async (ms: number) =>
    (await ledger.expire(ms)).map(({ reservation }) => reservation.id)
  expect(await endedAt(atMs + 3000)).toEqual(['second'])
  await putBack()
  expect(await endedAt(atMs + 62_999)).toEqual([])
  expect(await endedAt(atMs + 63_000)).toEqual(['first'])
})

describe('a time zone that only another process knows', () => {
  const atMs = Date.parse('2026-02-02T00:00:00Z')
  const berlin = quotaOf({ name: 'berlin', window: calendar('day', 'Europe/Berlin') })
  let ledger: Ledger<string>
  beforeEach(async () => {
    await on.redis.client.flushall()
    await open().reserve(requestOf('theirs', berlin, 1000), atMs)
    await renameZone('Europe/Berlin', 'Europe/Bonn__')
    ledger = open()
  })

  function requestOf(id: string, quota: Quota, leaseMs: number) {
    return { id, idempotencyKey: id, context: '', leaseMs, holds: [holdOf(quota, 1)] }
  }

  /** As a process with newer data of time zones has it. Both names are of one length. */
  async function renameZone(from: string, to: string): Promise<void> {
    for (const key of await on.redis.client.keys('tg2:{0}:[rp]:*')) {
      const stored = (await on.redis.client.getBuffer(key)) ?? Buffer.alloc(0)
      const renamed = stored.toString('latin1').replaceAll(from, to)
      await on.redis.client.set(key, Buffer.from(renamed, 'latin1'), 'KEEPTTL')
    }
  }

  test('keeps no other lease from running out, and its own comes again', async () => {
    const endedAt = async (ms: number) =>
      (await ledger.expire(ms)).map(({ reservation }) => reservation.id)
    await ledger.reserve(requestOf('ours', quotaOf(), 2000), atMs)
    expect(await endedAt(atMs + 3000)).toEqual(['ours'])
    await renameZone('Europe/Bonn__', 'Europe/Berlin')
    expect(await endedAt(atMs + 62_999)).toEqual([])
    expect(await endedAt(atMs + 63_000)).toEqual(['theirs'])
  })

  test('is a failure of the ledger to a report, which can be said again, and to a repeated call', async () => {
    const end = { kind: 'settled', inputTokens: 1, outputTokens: 0 } as const
    expect(await ledger.find('theirs', atMs)).toMatchObject({ id: 'theirs' })
    await expect(ledger.end('theirs', end, atMs)).rejects.toThrow(DependencyError)
    const again = ledger.reserve(
      { ...requestOf('again', quotaOf(), 1000), idempotencyKey: 'theirs' },
      atMs,
    )
    await expect(again).rejects.toThrow(DependencyError)
    await renameZone('Europe/Bonn__', 'Europe/Berlin')
    expect(await open().end('theirs', end, atMs)).toMatchObject({ outcome: 'settled' })
  })
})

test.each([
  ['week', 7],
  ['month', 28],
  ['year', 365],
] as const)('a debt of more than a %s is kept until it has fallen', async (period, days) => {
  await on.redis.client.flushall()
  const quota = quotaOf({ limit: 100, window: calendar(period) })
  const ledger = createRedisLedger<string>({ store: on.store, clock: systemClock, timeoutMs: 5000 })
  const request = { id: 'r', idempotencyKey: 'k', context: '', leaseMs: 1000 }
  await ledger.reserve({ ...request, holds: [holdOf(quota, 0)] }, Date.now())
  // It stands until the second boundary from now, at least.
  await ledger.end('r', { kind: 'settled', inputTokens: 150, outputTokens: 0 }, Date.now())
  const [key = ''] = await on.redis.client.keys('tg2:{0}:p:*')
  expect(await on.redis.client.pttl(key)).toBeGreaterThan(days * 86_400_000)
})

test.each([
  ['calendar year', calendar('year')],
  ['fixed window', { kind: 'fixed', lengthMs: 365 * DAY_MS }],
] as const)(
  'what was spent in a long window is kept until the window ends, and a minute more: a %s',
  async (_, window) => {
    await on.redis.client.flushall()
    // The year ends a hundred days later; the fixed window began at a multiple of its length.
    const endsAtMs =
      window.kind === 'fixed' ? 57 * window.lengthMs : Date.parse('2027-01-01T00:00Z')
    const atMs = endsAtMs - 100 * DAY_MS
    const ledger = open()
    const holds = [holdOf(quotaOf({ window }), 10)]
    await ledger.reserve({ id: 'r', idempotencyKey: 'k', context: '', leaseMs: 1000, holds }, atMs)
    await ledger.end('r', { kind: 'settled', inputTokens: 10, outputTokens: 0 }, atMs)
    const left = await on.redis.client.pttl('tg2:{0}:p:user-minute a')
    expect(left).toBeGreaterThan(99 * DAY_MS)
    expect(left).toBeLessThanOrEqual(100 * DAY_MS + 60_000)
  },
)
