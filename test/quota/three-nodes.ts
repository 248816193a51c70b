import { systemClock } from '../../src/clock.js'
import type { Clock } from '../../src/clock.js'
import { createBuckets } from '../../src/quota/redis/buckets.js'
import type { Hold, Ledger } from '../../src/quota/ledger.js'
import type { Quota } from '../../src/quota/quota.js'
import { createRedisLedger } from '../../src/quota/redis/redis-ledger.js'
import { loadRedisScripts } from '../../src/quota/redis/scripts.js'
import type { RedisScripts } from '../../src/quota/redis/scripts.js'
import { createSlicedLedger } from '../../src/quota/slices/sliced-ledger.js'
import type { SliceTuning } from '../../src/quota/slices/sliced-ledger.js'
import { openStore } from '../../src/store/store.js'
import type { Reply, Store } from '../../src/store/store.js'
import type { ClusterGroup } from '../redis-cluster.js'
import { calendar, holdOf, quotaOf } from './quotas.js'

// Processes on a cluster of three, whose requests hold something on each node.

const buckets = createBuckets(256)

/** What becomes of a script that is to be sent for a bucket. */
export type Spoil = (
  script: keyof RedisScripts,
  bucket: number,
  send: () => Promise<Reply>,
) => Promise<Reply>

export interface Differences {
  readonly spoil?: Spoil | undefined
  readonly timeoutMs?: number
  /** What the ledger's own moments are by. */
  readonly clock?: Pick<Clock, 'monotonicMs'>
  /** It decides from slices, as this says. */
  readonly tuning?: Partial<SliceTuning>
  /** The moments that the test passes count. */
  readonly moments?: 'given' | undefined
  readonly bucketsPerExpire?: number
}

/** As one process would have it. */
export function openProcess(
  group: ClusterGroup,
  {
    spoil,
    timeoutMs = 5000,
    tuning,
    moments,
    bucketsPerExpire = 1,
    clock = systemClock,
  }: Differences = {},
): Ledger<string> {
  const inner = openStore(group.address, { clock: systemClock, random: Math.random })
  const names = Object.entries(loadRedisScripts()) as [keyof RedisScripts, { digest: string }][]
  const store: Store = {
    ...inner,
    async run(script, keys, ...rest) {
      const send = (): Promise<Reply> => inner.run(script, keys, ...rest)
      const name = names.find(([, { digest }]) => digest === script.digest)?.[0]
      const bucket = bucketOfTag.get(/\{(\d+)\}/.exec(keys[0] ?? '')?.[1] ?? '')
      if (spoil === undefined || name === undefined || bucket === undefined) return send()
      return spoil(name, bucket, send)
    },
  }
  const given = moments === undefined ? {} : { moments }
  const parts = { store, clock, timeoutMs, buckets, ...given }
  const ledger = createRedisLedger<string>({ ...parts, bucketsPerExpire })
  if (tuning === undefined) return ledger
  return createSlicedLedger({ ...parts, ledger, random: Math.random, tuning })
}

const bucketOfTag = new Map(
  Array.from({ length: buckets.count }, (_, bucket) => [buckets.tagOf(bucket), bucket]),
)

/** Three quotas whose partitions are each on a master of their own; the first is the home, the third counts in flight. */
export function holdsOnThreeNodes(inFlight: number): [Hold, Hold, Hold] {
  const found = new Map<unknown, Hold>()
  const quotas = [
    quotaOf({ name: 'home', limit: 100, window: calendar('month') }),
    quotaOf({ name: 'away', limit: 100, window: calendar('month') }),
    quotaOf({ name: 'third', limit: inFlight, unit: 'in_flight', window: { kind: 'open' } }),
  ]
  for (let number = 0; found.size < 3; number += 1) {
    const quota = quotas[found.size] as Quota
    const hold = holdOf(quota, quota.unit === 'in_flight' ? 1 : 10, String(number))
    const node = Math.floor((buckets.ofPartition(hold.partitionKey) * 3) / 256)
    if (!found.has(node)) found.set(node, hold)
  }
  return [...found.values()] as [Hold, Hold, Hold]
}

export const [home, away, third] = holdsOnThreeNodes(3)

export const bucketOf = (hold: Hold): number => buckets.ofPartition(hold.partitionKey)
export const tagOf = (hold: Hold): string => buckets.tagOf(bucketOf(hold))

let made = 0
export function streamOf(holds: readonly Hold[] = [home, away, third]) {
  const id = `reservation-${String((made += 1))}`
  return { id, idempotencyKey: `stream ${id}`, holds, context: `context of ${id}`, leaseMs: 60_000 }
}

/** What is reserved of each quota. */
export async function reservedIn(ledger: Ledger<string>): Promise<readonly number[]> {
  const balances = await ledger.balances([home, away, third], Date.now())
  return balances.map(({ reserved }) => reserved)
}
