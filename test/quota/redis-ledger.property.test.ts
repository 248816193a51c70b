import { afterAll, beforeAll } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { createRedisLedger } from '../../src/quota/redis-ledger.js'
import { openStore } from '../../src/store/store.js'
import type { Store } from '../../src/store/store.js'
import { startRedis } from '../redis-server.js'
import type { RedisServer } from '../redis-server.js'
import { describeAgreement, rememberEndedMs } from './ledger.property.js'

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

describeAgreement(
  'the Redis ledger',
  async () => {
    await redis.client.flushall()
    const given = { timeoutMs: 5000, moments: 'given', rememberEndedMs } as const
    return createRedisLedger({ store, clock: systemClock, ...given })
  },
  40,
)
