import { expect, test } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { createFailoverLedger } from '../../src/quota/failover/failover-ledger.js'
import type { GuardedLedger } from '../../src/quota/failover/guarded-ledger.js'
import { createMemoryLedger } from '../../src/quota/memory/memory-ledger.js'
import { createRedisLedger } from '../../src/quota/redis/redis-ledger.js'
import { createRedisProcesses } from '../../src/quota/redis/redis-processes.js'
import { createSlicedLedger } from '../../src/quota/slices/sliced-ledger.js'
import { openStore } from '../../src/store/store.js'
import { startRedis } from '../redis-server.js'
import type { ServerAddress } from '../redis-server.js'
import { calendar, holdOf, quotaOf } from './quotas.js'

const limit = 2000
const timeoutMs = 5000
const quota = quotaOf({
  unit: 'requests',
  limit,
  window: calendar('day'),
  slices: true,
  onStoreFailure: 'local',
})

/** Stands still from some moment on, so that no slice is over by then. */
let stoppedAtMs = Infinity
const clock = {
  ...systemClock,
  monotonicMs: () => Math.min(stoppedAtMs, systemClock.monotonicMs()),
}
/** Of the census alone: a Redis grants no shares in its first 10 s. */
let momentMs = 1_000_000

/** As `ledgers.ts` puts it together. */
function open(address: ServerAddress, processId: string): GuardedLedger<string> {
  const store = openStore(address, { clock, random: Math.random })
  const parts = { store, clock, timeoutMs }
  const ledger = createRedisLedger<string>(parts)
  const tuning = { warmMs: Infinity }
  return createFailoverLedger({
    main: createSlicedLedger({ ...parts, ledger, random: Math.random, tuning }),
    local: {
      ledger: createMemoryLedger(),
      processes: createRedisProcesses({ ...parts, processId, momentMs: () => momentMs }),
      atLeast: 2,
      dueMonotonicMs: () => clock.monotonicMs() + timeoutMs,
    },
  })
}

test('after a kill of Redis, what slices and shares of all processes admit is the limit at most', async () => {
  const redis = await startRedis()
  const both = ['one', 'other'].map((processId) => open(redis.address, processId))
  let count = 0
  const ask = async (ledger: GuardedLedger<string>) => {
    const id = String((count += 1))
    const request = { id, idempotencyKey: id, holds: [holdOf(quota, 1)], context: '' }
    return ledger.reserve({ ...request, leaseMs: 60_000 }, Date.now())
  }
  try {
    for (let times = 0; times < 3; times += 1) {
      for (const each of both) await each.expire(Date.now())
      momentMs += 15_000
    }
    expect(both.map((each) => each.size().processes)).toEqual([2, 2])
    for (let times = 0; times < 4; times += 1) {
      for (const each of both) expect(await ask(each)).toMatchObject({ kind: 'held' })
    }
    stoppedAtMs = clock.monotonicMs()
    await redis.kill()

    let [bySlices, byShares] = [0, 0]
    for (let times = 0; times < limit; times += 1) {
      for (const each of both) {
        const answer = await ask(each)
        if (answer.kind !== 'held') continue
        if (answer.fallback === undefined) bySlices += 1
        else byShares += 1
      }
    }
    expect(bySlices).toBeGreaterThan(0)
    expect(byShares).toBe(0.9 * limit)
    expect(bySlices + byShares).toBeLessThanOrEqual(limit)
  } finally {
    stoppedAtMs = Infinity
    for (const each of both) await each.close()
    await redis.stop()
  }
})
