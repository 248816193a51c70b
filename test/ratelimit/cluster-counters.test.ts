import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { createRedisCounters } from '../../src/ratelimit/redis-counters.js'
import { openStore } from '../../src/store/store.js'
import type { Store } from '../../src/store/store.js'
import { startCluster } from '../redis-cluster.js'
import type { ClusterGroup } from '../redis-cluster.js'
import { describeCounters, describeOwnCounters } from './counters.contract.js'
import { createTestClock } from './rig.js'
import type { CreateCounters } from './rig.js'

let group: ClusterGroup
let store: Store
beforeAll(async () => {
  group = await startCluster()
  store = openStore(group.address, { clock: systemClock, random: Math.random })
})
afterAll(async () => {
  store.close()
  await group.stop()
})

const create: CreateCounters = async ({ stopWhenOver, clock }) => {
  await group.flush()
  return createRedisCounters({
    store,
    clock: { ...systemClock, nowEpochMs: () => clock.nowEpochMs() },
    random: () => 0,
    ...{ mode: 'safe', stopWhenOver, keyPrefix: 'p:', timeoutMs: 5000, moments: 'given' },
    expirationJitterMaxSeconds: 300,
  })
}

describeCounters('on a cluster of three', create)
describeOwnCounters('on a cluster of three', create)

test('the counters of one domain are on one node, those of many on all', async () => {
  const counters = await create({ stopWhenOver: false, clock: createTestClock() })
  for (let domain = 0; domain < 32; domain += 1) {
    const asks = ['a', 'b', 'c'].map((value) => ({
      counted: [{ key: 'k', value }],
      limit: { requestsPerUnit: 5, unit: 'year' as const },
      ...{ hits: 1, isRefund: false },
    }))
    await counters.count(`domain ${String(domain)}`, asks)
  }
  const counts = await Promise.all(group.masters.map(({ client }) => client.dbsize()))
  expect(counts.reduce((sum, count) => sum + count)).toBe(96)
  for (const count of counts) expect(count).toBeGreaterThan(0)
})
