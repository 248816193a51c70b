import { afterAll, beforeAll, expect, test } from 'vitest'
import { startRedis } from '../redis-server.js'
import type { RedisServer } from '../redis-server.js'
import { startSentinels } from '../redis-sentinel.js'
import type { SentinelGroup } from '../redis-sentinel.js'
import { describeCounters, describeOwnCounters } from './counters.contract.js'
import { ask } from './asks.js'
import { createFromPolicy, openPolicy, redisSection } from './policy-counters.js'

let group: SentinelGroup
let redis: RedisServer
beforeAll(async () => {
  group = await startSentinels({ sentinels: 1 })
  redis = await startRedis()
})
afterAll(async () => {
  await group.stop()
  await redis.stop()
})

async function flush(): Promise<void> {
  await group.servers[0].client.flushall()
  await redis.client.flushall()
}

const create = (mode: 'safe' | 'shared') =>
  createFromPolicy(() => ({ mode, redis: redisSection(group.address) }), flush)

describeCounters('on a master that Sentinel names', create('safe'))
describeOwnCounters('on a master that Sentinel names', create('safe'))
describeCounters("on a master that Sentinel names, under the peer's keys", create('shared'))

describeCounters(
  'limits per second on a master that Sentinel names, all others on a server',
  createFromPolicy(
    () => ({ redis: redisSection(redis.address), perSecond: redisSection(group.address) }),
    flush,
  ),
)

test('S72: limits per second are counted on the master that Sentinel names, and no others', async () => {
  await flush()
  const counters = openPolicy({
    mode: 'shared',
    redis: redisSection(redis.address),
    perSecond: redisSection(group.address),
  })
  const asks = [ask('a', 'second', 3), ask('b', 'year', 2), ask('c', 'second')]
  const master = group.servers[0].client
  await master.config('RESETSTAT')
  expect((await counters.count('d', asks)).map(({ after }) => after)).toEqual([3, 2, 1])
  expect(await redis.client.keys('*')).toEqual([expect.stringMatching(/^d_key4_b_\d+$/)])
  // They may have expired since.
  for (const key of await master.keys('*')) expect(key).toMatch(/^d_key4_[ac]_\d+$/)
  expect(await master.info('commandstats')).toMatch(/cmdstat_incrby:calls=2,/)
})
