import { afterAll, beforeAll } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { createRedisLedger } from '../../src/quota/redis/redis-ledger.js'
import { openStore } from '../../src/store/store.js'
import { startRedis } from '../redis-server.js'
import type { RedisServer } from '../redis-server.js'
import { describeLedger } from './ledger.contract.js'

let redis: RedisServer
beforeAll(async () => {
  redis = await startRedis()
})
afterAll(() => redis.stop())

describeLedger('the Redis ledger', async () => {
  await redis.client.flushall()
  const store = openStore(redis.address, { clock: systemClock, random: Math.random })
  return createRedisLedger({ store, clock: systemClock, timeoutMs: 5000, moments: 'given' })
})
