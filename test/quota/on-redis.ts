import { afterAll, beforeAll } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { openStore } from '../../src/store/store.js'
import type { Store } from '../../src/store/store.js'
import { startCluster } from '../redis-cluster.js'
import type { ClusterGroup } from '../redis-cluster.js'
import { startRedis } from '../redis-server.js'
import type { RedisServer } from '../redis-server.js'

/** What the tests of a file share, from before the first until after the last: a Redis server, and a store on it. */
export function onRedis(): { readonly redis: RedisServer; readonly store: Store } {
  const on = {} as { redis: RedisServer; store: Store }
  beforeAll(async () => {
    on.redis = await startRedis()
    on.store = openStore(on.redis.address, { clock: systemClock, random: Math.random })
  })
  afterAll(async () => {
    on.store.close()
    await on.redis.stop()
  })
  return on
}

/** The same, with a Cluster of three. */
export function onCluster(): { readonly group: ClusterGroup; readonly store: Store } {
  const on = {} as { group: ClusterGroup; store: Store }
  beforeAll(async () => {
    on.group = await startCluster()
    on.store = openStore(on.group.address, { clock: systemClock, random: Math.random })
  })
  afterAll(async () => {
    on.store.close()
    await on.group.stop()
  })
  return on
}
