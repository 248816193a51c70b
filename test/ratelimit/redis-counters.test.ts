import { afterAll, afterEach, beforeAll } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { createRedisCounters } from '../../src/ratelimit/redis-counters.js'
import type { RedisCountersOptions } from '../../src/ratelimit/redis-counters.js'
import { openStore } from '../../src/store/store.js'
import type { Store } from '../../src/store/store.js'
import { startRedis } from '../redis-server.js'
import type { RedisServer } from '../redis-server.js'
import { describeCounters, describeOwnCounters } from './counters.contract.js'
import type { CreateCounters } from './rig.js'

let redis: RedisServer
beforeAll(async () => {
  redis = await startRedis()
})
afterAll(() => redis.stop())

const opened: Store[] = []
afterEach(() => {
  for (const store of opened.splice(0)) store.close()
})

function create(options: Partial<RedisCountersOptions> = {}): CreateCounters {
  return async ({ stopWhenOver, clock }) => {
    await redis.client.flushall()
    const store = openStore(redis.address, { clock: systemClock, random: Math.random })
    opened.push(store)
    return createRedisCounters({
      store,
      // The moment is the test's; how long a call may take is not.
      clock: { ...systemClock, nowEpochMs: () => clock.nowEpochMs() },
      random: () => 0,
      mode: 'safe',
      stopWhenOver,
      keyPrefix: '',
      expirationJitterMaxSeconds: 300,
      timeoutMs: 5000,
      moments: 'given',
      ...options,
    })
  }
}

describeCounters('on Redis', create())
describeOwnCounters('on Redis', create())
describeCounters("on Redis, under the peer's keys", create({ mode: 'shared' }))
