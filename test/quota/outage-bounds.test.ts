import { afterEach, expect, test } from 'vitest'
import { systemClock } from '../../src/clock.js'
import type { GuardedLedger } from '../../src/quota/failover/guarded-ledger.js'
import { createLedger } from '../../src/quota/ledgers.js'
import { startRedis } from '../redis-server.js'
import type { RedisServer } from '../redis-server.js'
import { until } from '../until.js'
import { calendar, holdOf, quotaOf } from './quotas.js'

const SHARES = 'tg2:{processes}:shares'
/** A quarter of it has room for six partitions, and for six reservations. */
const heapBytes = 4 * 6 * 1200
const quota = quotaOf({ limit: 1000, window: calendar('day'), onStoreFailure: 'local' })

let redis: RedisServer
let ledger: GuardedLedger<string>
afterEach(async () => {
  await ledger.close()
  await redis.stop()
})

/** A process that has its share, and has lost its Redis. */
async function lose(maxPartitions: number | undefined): Promise<void> {
  redis = await startRedis()
  const { address } = redis
  ledger = createLedger<string>(
    { kind: 'redis', address, timeoutMs: 500, maxPartitions, processes: 1 },
    { clock: systemClock, random: Math.random, processId: 'one', heapBytes },
  )
  const round = () => ledger.expire(systemClock.nowEpochMs())
  await until(round)
  // It gives no share in its first ten seconds.
  const table = JSON.parse((await redis.client.get(SHARES)) ?? '{}') as Record<string, number>
  const older = { ...table, settling: (table['settling'] ?? 0) - 20_000 }
  await redis.client.set(SHARES, JSON.stringify(older))
  await until(round)
  await redis.kill()
}

/** In so many partitions. */
async function reserve(id: string, partitions: number): Promise<string> {
  const holds = Array.from({ length: partitions }, (_, number) => holdOf(quota, 1, String(number)))
  const request = { id, idempotencyKey: id, holds, context: '', leaseMs: 60_000 }
  const answer = await ledger.reserve(request, systemClock.nowEpochMs())
  if (answer.kind === 'held') expect(answer.fallback?.localQuotas).toContain(quota.name)
  return answer.kind === 'unavailable' ? answer.why : answer.kind
}

test.each([
  ['as the policy says', 2, 2],
  ['where it says nothing, as a quarter of the heap has room for', undefined, 6],
])('partitions of its shares are so many: %s', async (_, maxPartitions, fit) => {
  await lose(maxPartitions)
  expect(await reserve('a', fit + 1)).toBe('full')
  expect(await reserve('b', fit)).toBe('held')
})

test('reservations in its shares are so many as an eighth of the heap has room for', async () => {
  await lose(1000)
  const answers: string[] = []
  for (const id of ['a', 'b', 'c', 'd']) answers.push(await reserve(id, 1))
  expect(answers).toEqual(['held', 'held', 'held', 'full'])
})
