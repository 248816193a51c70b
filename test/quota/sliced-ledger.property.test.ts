import type { Clock } from '../../src/clock.js'
import type { Ledger } from '../../src/quota/ledger.js'
import { createRedisLedger } from '../../src/quota/redis/redis-ledger.js'
import { createSlicedLedger } from '../../src/quota/slices/sliced-ledger.js'
import { describeAgreement, rememberEndedMs } from './ledger.property.js'
import { onRedis } from './on-redis.js'
import { greedy, toldExactly } from './slicing.js'

const on = onRedis()

async function makeLedger(clock: Pick<Clock, 'monotonicMs'>): Promise<Ledger<string>> {
  await on.redis.client.flushall()
  const moments = 'given' as const
  const parts = { store: on.store, clock, timeoutMs: 5000, moments, rememberEndedMs }
  const ledger: Ledger<string> = createRedisLedger(parts)
  return toldExactly(createSlicedLedger({ ...parts, ledger, random: Math.random, tuning: greedy }))
}

describeAgreement('the sliced ledger', makeLedger, 40)
