import { afterAll, beforeAll } from 'vitest'
import { systemClock } from '../../src/clock.js'
import type { Ledger } from '../../src/quota/ledger.js'
import { createRedisLedger } from '../../src/quota/redis/redis-ledger.js'
import { createSlicedLedger } from '../../src/quota/slices/sliced-ledger.js'
import { openStore } from '../../src/store/store.js'
import { startSentinels } from '../redis-sentinel.js'
import type { SentinelGroup } from '../redis-sentinel.js'
import { describeLedger } from './ledger.contract.js'
import { greedy, toldExactly } from './slicing.js'

let group: SentinelGroup
beforeAll(async () => {
  group = await startSentinels({ sentinels: 1 })
})
afterAll(() => group.stop())

async function emptied() {
  await group.servers[0].client.flushall()
  const store = openStore(group.address, { clock: systemClock, random: Math.random })
  return { store, clock: systemClock, timeoutMs: 5000, moments: 'given' } as const
}

describeLedger('the Redis ledger on a master that Sentinel names', async () =>
  createRedisLedger(await emptied()),
)

describeLedger('the sliced ledger on a master that Sentinel names', async () => {
  const parts = await emptied()
  const ledger: Ledger<string> = createRedisLedger(parts)
  return toldExactly(createSlicedLedger({ ...parts, ledger, random: Math.random, tuning: greedy }))
})
