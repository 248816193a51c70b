import { afterAll, beforeAll } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { createRedisLedger } from '../../src/quota/redis/redis-ledger.js'
import { openStore } from '../../src/store/store.js'
import { startSentinels } from '../redis-sentinel.js'
import type { SentinelGroup } from '../redis-sentinel.js'
import { describeLedger } from './ledger.contract.js'

let group: SentinelGroup
beforeAll(async () => {
  group = await startSentinels({ sentinels: 1 })
})
afterAll(() => group.stop())

describeLedger('the Redis ledger on a master that Sentinel names', async () => {
  await group.servers[0].client.flushall()
  const store = openStore(group.address, { clock: systemClock, random: Math.random })
  return createRedisLedger({ store, clock: systemClock, timeoutMs: 5000, moments: 'given' })
})
