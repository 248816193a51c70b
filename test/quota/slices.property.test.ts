import { afterAll, beforeAll } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { createBuckets } from '../../src/quota/redis/buckets.js'
import { openStore } from '../../src/store/store.js'
import type { Store } from '../../src/store/store.js'
import { startCluster } from '../redis-cluster.js'
import type { ClusterGroup } from '../redis-cluster.js'
import { startRedis } from '../redis-server.js'
import type { RedisServer } from '../redis-server.js'
import { describeHouse } from './slices.property.js'

let redis: RedisServer
let group: ClusterGroup
let stores: { readonly redis: Store; readonly group: Store }
beforeAll(async () => {
  redis = await startRedis()
  group = await startCluster()
  const parts = { clock: systemClock, random: Math.random }
  stores = { redis: openStore(redis.address, parts), group: openStore(group.address, parts) }
})
afterAll(async () => {
  stores.redis.close()
  stores.group.close()
  await redis.stop()
  await group.stop()
})

const oneServer = () => {
  return { store: stores.redis, buckets: createBuckets(1), flush: () => redis.client.flushall() }
}
const buckets = createBuckets(12)
const cluster = () => ({ store: stores.group, buckets, flush: () => group.flush() })

describeHouse('on one server', oneServer, 20)
describeHouse('on a cluster of three', cluster, 15)
