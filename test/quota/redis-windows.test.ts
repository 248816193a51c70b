import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { loadRedisScripts } from '../../src/quota/redis-scripts.js'
import { openStore } from '../../src/store/store.js'
import type { Store } from '../../src/store/store.js'
import { startRedis } from '../redis-server.js'
import type { RedisServer } from '../redis-server.js'

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
