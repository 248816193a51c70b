import { afterAll, beforeAll } from 'vitest'
import { systemClock } from '../../src/clock.js'
import type { Ledger } from '../../src/quota/ledger.js'
import { createRedisLedger } from '../../src/quota/redis/redis-ledger.js'
import { createSlicedLedger } from '../../src/quota/slices/sliced-ledger.js'
import { openStore } from '../../src/store/store.js'
import { startRedis } from '../redis-server.js'
import type { RedisServer } from '../redis-server.js'
import { describeLedger } from './ledger.contract.js'
import { greedy, toldExactly } from './slicing.js'

let redis: RedisServer
beforeAll(async () => {
  redis = await startRedis()
})
afterAll(() => redis.stop())

// Every quota is sliced from the first request on, and a slice may be all that is free.
describeLedger('the sliced ledger', async () => {
  await redis.client.flushall()
  const store = openStore(redis.address, { clock: systemClock, random: Math.random })
  const parts = { store, clock: systemClock, timeoutMs: 5000, moments: 'given' } as const
  const ledger: Ledger<string> = createRedisLedger(parts)
  return toldExactly(createSlicedLedger({ ...parts, ledger, random: Math.random, tuning: greedy }))
})
