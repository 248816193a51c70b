import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest'
import type { Clock } from '../../src/clock.js'
import { systemClock } from '../../src/clock.js'
import type { Counters } from '../../src/ratelimit/counters.js'
import { openCounters } from '../../src/ratelimit/open-counters.js'
import type { CounterSettings, OpenCounters } from '../../src/ratelimit/open-counters.js'
import { startRedis } from '../redis-server.js'
import type { RedisServer } from '../redis-server.js'

// What the tests of counters on Redis share: two servers, empty before each test, and counters that are closed after it.

export let redis: RedisServer
export let other: RedisServer
beforeAll(async () => {
  redis = await startRedis()
  other = await startRedis()
})
afterAll(async () => {
  await redis.stop()
  await other.stop()
})
beforeEach(async () => {
  await redis.client.flushall()
  await other.client.flushall()
})

/** Closed after the test. */
export const opened: Counters[] = []
afterEach(() => {
  for (const counters of opened.splice(0)) counters.close()
})

export function server({ address }: RedisServer) {
  return { kind: 'redis' as const, address, timeoutMs: 5000 }
}

export function open(
  changes: Partial<CounterSettings> = {},
  parts: {
    readonly clock?: Clock
    readonly random?: () => number
    readonly onUnavailable?: () => void
  } = {},
): OpenCounters {
  const made = openCounters(
    {
      mode: 'safe',
      stopWhenOver: false,
      expirationJitterMaxSeconds: 300,
      store: server(redis),
      perSecond: undefined,
      cacheKeyPrefix: '',
      localCacheBytes: 0,
      ...changes,
    },
    {
      clock: systemClock,
      random: () => 0,
      heapBytes: Infinity,
      onUnavailable: () => undefined,
      onAvailable: () => undefined,
      ...parts,
    },
  )
  opened.push(made.counters)
  return made
}
