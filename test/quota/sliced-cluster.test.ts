import { systemClock } from '../../src/clock.js'
import type { Clock } from '../../src/clock.js'
import type { Ledger } from '../../src/quota/ledger.js'
import { createBuckets } from '../../src/quota/redis/buckets.js'
import { createRedisLedger } from '../../src/quota/redis/redis-ledger.js'
import { createSlicedLedger } from '../../src/quota/slices/sliced-ledger.js'
import { describeLedger } from './ledger.contract.js'
import { describeAgreement, rememberEndedMs } from './ledger.property.js'
import { onCluster } from './on-redis.js'
import { greedy, toldExactly } from './slicing.js'

// As in `cluster-ledger.test.ts`, nearly every request has parts on several nodes, each in a slice of its own.

const on = onCluster()

const buckets = createBuckets(12, 'as given')

interface Options {
  readonly rememberEndedMs?: number
  readonly clock?: Pick<Clock, 'monotonicMs'>
}

async function makeLedger(options: Options = {}) {
  await on.group.flush()
  const shared = { ...on.store, close: () => undefined }
  const given = { timeoutMs: 5000, moments: 'given', buckets } as const
  const parts = { store: shared, clock: systemClock, ...given, ...options }
  const ledger: Ledger<string> = createRedisLedger({ ...parts, bucketsPerExpire: 12 })
  return toldExactly(createSlicedLedger({ ...parts, ledger, random: Math.random, tuning: greedy }))
}

describeLedger('the sliced ledger on a cluster of three', () => makeLedger())

describeAgreement(
  'the sliced ledger on a cluster of three',
  (clock) => makeLedger({ rememberEndedMs, clock }),
  8,
  (holds) => {
    const home = buckets.homeOf({ holds, idempotencyKey: '' })
    return holds.filter(({ partitionKey }) => buckets.ofPartition(partitionKey) !== home)
  },
  // A home that is told of it last may have forgotten the partition by then, with the limit by which debts fall, where
  // nothing of it is held. No request is like that: what it owes it has held something of.
  false,
)
