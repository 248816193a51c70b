import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { createRedisLedger } from '../../src/quota/redis-ledger.js'
import { loadRedisScripts } from '../../src/quota/redis-scripts.js'
import { openStore } from '../../src/store/store.js'
import type { Store } from '../../src/store/store.js'
import { startRedis } from '../redis-server.js'
import type { RedisServer } from '../redis-server.js'
import { calendar, holdOf, quotaOf } from './quotas.js'

let redis: RedisServer
let store: Store
beforeAll(async () => {
  redis = await startRedis()
  store = openStore(redis.address, { clock: systemClock, random: Math.random })
})
afterAll(async () => {
  store.close()
  await redis.stop()
})

/** Reserves one unit under a window of this name, as a later release might spell it. */
function reserveUnder(window: string): Promise<readonly unknown[]> {
  const holds = [{ amount: 1, limit: 5, window, unit: 'tokens' }]
  const argsUntil = (untilMs: number) => [
    JSON.stringify({ id: 'r', leaseMs: 1000, untilMs, calendars: {}, holds }),
    '"context"',
    '[]',
  ]
  const keys = ['reservation', 'idempotency', 'leases', 'partition']
  return store.run(loadRedisScripts().reserve, keys, argsUntil, systemClock.monotonicMs() + 5000)
}

test.each(['lunar 5', 'calendar decade UTC', 'calendar fixed 1.5', 'Open'])(
  'a script does not guess at a window that it does not know, and writes nothing: %s',
  async (window) => {
    await expect(reserveUnder(window)).rejects.toThrow()
    expect(await redis.client.dbsize()).toBe(0)
  },
)

test('a script knows the window that it does know', async () => {
  expect((await reserveUnder('calendar fixed 60000'))[0]).toBe('held')
  expect(await redis.client.dbsize()).toBe(4)
})

test.each([
  ['week', 7],
  ['month', 28],
  ['year', 365],
] as const)('a debt of more than a %s is kept until it has fallen', async (period, days) => {
  await redis.client.flushall()
  const quota = quotaOf({ limit: 100, window: calendar(period) })
  const ledger = createRedisLedger<string>({ store, clock: systemClock, timeoutMs: 5000 })
  const request = { id: 'r', idempotencyKey: 'k', context: '', leaseMs: 1000 }
  await ledger.reserve({ ...request, holds: [holdOf(quota, 0)] }, Date.now())
  // It stands until the second boundary from now, at least.
  await ledger.end('r', { kind: 'settled', inputTokens: 150, outputTokens: 0 }, Date.now())
  const [key = ''] = await redis.client.keys('tg2:{0}:p:*')
  expect(await redis.client.pttl(key)).toBeGreaterThan(days * 86_400_000)
})
