import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { createBuckets } from '../../src/quota/redis/buckets.js'
import { createSliceTurns } from '../../src/quota/slices/slice-turns.js'
import type { Slice } from '../../src/quota/slices/slices.js'
import { createTimelines } from '../../src/quota/windows/windows.js'
import { openStore } from '../../src/store/store.js'
import { startRedis } from '../redis-server.js'
import type { RedisServer } from '../redis-server.js'
import { holdOf, quotaOf } from './quotas.js'

let redis: RedisServer
beforeAll(async () => {
  redis = await startRedis()
})
afterAll(() => redis.stop())

const LIFE_MS = 1000

test('a slice lasts from when it was asked for, however late the answer is', async () => {
  let aheadMs = 0
  const clock = { monotonicMs: () => systemClock.monotonicMs() + aheadMs }
  const store = openStore(redis.address, { clock, random: Math.random })
  let sentMs = 0
  const slow: typeof store = {
    ...store,
    async run(...call) {
      sentMs = clock.monotonicMs()
      const reply = await store.run(...call)
      aheadMs += 600
      return reply
    },
  }
  const timelines = createTimelines()
  const slices: (Slice | undefined)[] = []
  const turns = createSliceTurns<string>({
    ...{ store: slow, clock, timeoutMs: 5000, moments: 'redis', owner: 'this process' },
    buckets: createBuckets(1),
    share: { one: 1, all: 1 },
    lifeMs: LIFE_MS,
    nowAt: () => Date.now(),
    timelineOf: ({ quota }) => timelines(quota.window),
    onAdopted: () => undefined,
    onTaken: (_, slice) => slices.push(slice),
    onSetAside: () => undefined,
    onGivenUp: () => undefined,
  })
  const hold = holdOf(quotaOf({ window: { kind: 'sliding', lengthMs: 3_600_000 } }), 1)
  turns.take({ hold, amount: 100, least: 1, leaseMs: 60_000 })
  await turns.flush()
  store.close()
  const [slice] = slices
  expect(slice?.amount).toBe(100)
  // Redis may call it over from then on.
  expect(slice?.overAtTick).toBeLessThan(sentMs + LIFE_MS)
  expect(slice?.overAtTick).toBeGreaterThan(sentMs)
})
