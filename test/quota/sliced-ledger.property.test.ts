import { afterAll, beforeAll } from 'vitest'
import { systemClock } from '../../src/clock.js'
import type { Clock } from '../../src/clock.js'
import type { Ledger } from '../../src/quota/ledger.js'
import { createRedisLedger } from '../../src/quota/redis/redis-ledger.js'
import { createSlicedLedger } from '../../src/quota/slices/sliced-ledger.js'
import { openStore } from '../../src/store/store.js'
import type { Store } from '../../src/store/store.js'
import { startRedis } from '../redis-server.js'
import type { RedisServer } from '../redis-server.js'
import { describeAgreement, rememberEndedMs } from './ledger.property.js'
import { greedy, toldExactly } from './slicing.js'

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

async function makeLedger(clock: Pick<Clock, 'monotonicMs'>): Promise<Ledger<string>> {
  await redis.client.flushall()
  const moments = 'given' as const
  const parts = { store, clock, timeoutMs: 5000, moments, rememberEndedMs }
  const ledger: Ledger<string> = createRedisLedger(parts)
  return toldExactly(createSlicedLedger({ ...parts, ledger, random: Math.random, tuning: greedy }))
}

describeAgreement('the sliced ledger', makeLedger, 40)
