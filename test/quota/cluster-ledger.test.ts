import { systemClock } from '../../src/clock.js'
import type { Clock } from '../../src/clock.js'
import { createBuckets } from '../../src/quota/redis/buckets.js'
import { createRedisLedger } from '../../src/quota/redis/redis-ledger.js'
import { describeLedger } from './ledger.contract.js'
import { describeAgreement, rememberEndedMs } from './ledger.property.js'
import { onCluster } from './on-redis.js'

// The partitions of these tests are in buckets of their own, so nearly every request has parts on several nodes.

const on = onCluster()

const buckets = createBuckets(12, 'as given')

interface Options {
  readonly rememberEndedMs?: number
  readonly clock?: Pick<Clock, 'monotonicMs'>
}

async function makeLedger(options: Options = {}) {
  await on.group.flush()
  const given = { timeoutMs: 5000, moments: 'given', buckets, bucketsPerExpire: 12 } as const
  const shared = { ...on.store, close: () => undefined }
  return createRedisLedger<string>({ store: shared, clock: systemClock, ...given, ...options })
}

describeLedger('the Redis ledger on a cluster of three', () => makeLedger())

describeAgreement(
  'the Redis ledger on a cluster of three',
  (clock) => makeLedger({ rememberEndedMs, clock }),
  20,
  (holds) => {
    const home = buckets.homeOf({ holds, idempotencyKey: '' })
    return holds.filter(({ partitionKey }) => buckets.ofPartition(partitionKey) !== home)
  },
)
