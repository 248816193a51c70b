import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest'
import { systemClock } from '../../src/clock.js'
import type { Ledger } from '../../src/quota/ledger.js'
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

/** A Redis server, empty before each test, and the ledgers of that test on it, which are closed after it. */
export function onEmptyRedis() {
  const ledgers: Ledger<string>[] = []
  const closeAll = async (): Promise<void> => {
    for (const ledger of ledgers.splice(0)) await ledger.close()
  }
  const on = { redis: {} as RedisServer, ledgers, closeAll }
  beforeAll(async () => {
    on.redis = await startRedis()
  })
  beforeEach(() => on.redis.client.flushall())
  afterEach(closeAll)
  afterAll(() => on.redis.stop())
  return on
}

/** A Cluster of three, empty before each test, and the ledgers of that test on it, which are closed after it. */
export function onEmptyCluster() {
  const ledgers: Ledger<string>[] = []
  const closeAll = async (): Promise<void> => {
    for (const ledger of ledgers.splice(0)) await ledger.close()
  }
  const on = { group: {} as ClusterGroup, ledgers, closeAll }
  beforeAll(async () => {
    on.group = await startCluster()
  })
  beforeEach(() => on.group.flush())
  afterEach(async () => {
    // A test that fails while one stands still would leave it so for all that come after.
    for (const node of on.group.masters) node.resume()
    await closeAll()
  })
  afterAll(() => on.group.stop())
  return on
}
