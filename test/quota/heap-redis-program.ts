import { getHeapStatistics } from 'node:v8'
import type { Admission } from '../../src/admission.js'
import type * as ledgersModule from '../../src/quota/ledgers.js'
import { exampleAdmission } from '../example-admission.js'
import { startRedis } from '../redis-server.js'
import { calendar, holdOf, quotaOf } from './quotas.js'
import { usedBytes } from '../used-bytes.js'

// A process of its own with the built ledger on Redis, as `heap-redis.test.ts` starts it: holds more than it can
// remember, of eight quotas each.

export interface Beyond {
  readonly heapBytes: number
  readonly reservations: number
  /** What it remembers of what Redis has. */
  readonly remembered: number
  /** What that takes, with all else that comes of it. */
  readonly bytes: number
}

const RESERVATIONS = 6000
const QUOTAS = 8

const built = new URL('../../dist/quota/ledgers.js', import.meta.url)
const { createLedger } = (await import(built.href)) as typeof ledgersModule

const redis = await startRedis()
const heapBytes = getHeapStatistics().heap_size_limit
const clock = { nowEpochMs: () => Date.now(), monotonicMs: () => performance.now() }
const { address } = redis
const ledger = createLedger<Admission>(
  { kind: 'redis', address, timeoutMs: 20_000, maxPartitions: undefined, processes: 1 },
  { clock, random: Math.random, processId: 'a', heapBytes },
)
const window = calendar('day')
const quotas = Array.from({ length: QUOTAS }, (_, index) =>
  quotaOf({ name: `q${String(index)}`, limit: 1e12, window }),
)

/** With texts of its own, as each request brings them. */
async function reserve(number: number): Promise<string> {
  const id = String(number).padEnd(22, '.')
  const context = exampleAdmission({ auditId: `audit-${id}`, subject: `user-${id}` })
  const partition = `${'h'.repeat(40)}${String(number % 1000)}`
  const holds = quotas.map((quota) => holdOf(quota, 100, partition))
  const request = { id, idempotencyKey: `stream:${id}@2026`, holds, context, leaseMs: 1_860_000 }
  return (await ledger.reserve(request, Date.now())).kind
}

async function reserveMany(from: number, to: number): Promise<void> {
  let next = from
  const lane = async (): Promise<void> => {
    while (next < to) if ((await reserve(next++)) !== 'held') throw new Error('not held')
  }
  await Promise.all(Array.from({ length: 32 }, lane))
}

await reserveMany(0, 100)
const before = usedBytes()
await reserveMany(100, RESERVATIONS)
const { reservations: remembered } = ledger.size()
const bytes = usedBytes() - before
const beyond: Beyond = { heapBytes, reservations: RESERVATIONS, remembered, bytes }
process.stdout.write(JSON.stringify(beyond))
await ledger.close()
await redis.stop()
