import { afterAll, beforeAll } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { createRedisCounters } from '../../src/ratelimit/redis-counters.js'
import type { RedisCountersOptions } from '../../src/ratelimit/redis-counters.js'
import { openStore } from '../../src/store/store.js'
import type { Store } from '../../src/store/store.js'
import { startSentinels } from '../redis-sentinel.js'
import type { SentinelGroup } from '../redis-sentinel.js'
import { describeCounters, describeOwnCounters } from './counters.contract.js'
import type { CreateCounters } from './rig.js'

let group: SentinelGroup
let store: Store
beforeAll(async () => {
  group = await startSentinels({ sentinels: 1 })
  store = openStore(group.address, { clock: systemClock, random: Math.random })
})
afterAll(async () => {
  store.close()
  await group.stop()
})

function create(mode: RedisCountersOptions['mode']): CreateCounters {
  return async ({ stopWhenOver, clock }) => {
    await group.servers[0].client.flushall()
    return createRedisCounters({
      store,
      clock: { ...systemClock, nowEpochMs: () => clock.nowEpochMs() },
      random: () => 0,
      ...{ mode, stopWhenOver, keyPrefix: '', timeoutMs: 5000, moments: 'given' },
      expirationJitterMaxSeconds: 300,
    })
  }
}

describeCounters('on a master that Sentinel names', create('safe'))
describeOwnCounters('on a master that Sentinel names', create('safe'))
describeCounters("on a master that Sentinel names, under the peer's keys", create('shared'))
