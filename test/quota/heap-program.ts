import { getHeapStatistics } from 'node:v8'
import type { Admission } from '../../src/admission.js'
import type { Hold } from '../../src/quota/ledger.js'
import type * as ledgersModule from '../../src/quota/ledgers.js'
import { exampleAdmission } from '../example-admission.js'
import { holdOf, quotaOf } from './quotas.js'
import { usedBytes } from '../used-bytes.js'

// A process of its own with the built ledger, as `heap.test.ts` starts it: fills it, and says what that took.

export interface Filled {
  readonly heapBytes: number
  readonly partitions: number
  readonly reservations: number
  /** What all of them took together. */
  readonly bytes: number
}

const built = new URL('../../dist/quota/ledgers.js', import.meta.url)
const { createLedger } = (await import(built.href)) as typeof ledgersModule

const heapBytes = getHeapStatistics().heap_size_limit
let nowMs = 1_800_000_000_000
const clock = { nowEpochMs: () => nowMs, monotonicMs: () => nowMs }
const ledger = createLedger<Admission>(
  { kind: 'memory', maxPartitions: undefined },
  { clock, random: () => 0, processId: 'a', heapBytes },
)
const week = quotaOf({ limit: 1e9, window: { kind: 'sliding', lengthMs: 604_800_000 } })

/** @returns was there room? */
async function reserve(id: string, holds: readonly Hold[]): Promise<boolean> {
  // Texts of its own, as each request brings them.
  const context = exampleAdmission({ auditId: id, subject: `user-${id}` })
  const request = { id, idempotencyKey: `stream:${id}`, holds, context, leaseMs: 1_860_000 }
  return (await ledger.reserve(request, nowMs)).kind === 'held'
}

const ENDED = 150_000

/** As long as those that are made of hashes. */
const holdOfCaller = (number: number): Hold => holdOf(week, 100, String(number).padEnd(36, '.'))

const before = usedBytes()
for (let made = 0; await reserve(`p-${String(made)}`, [holdOfCaller(made)]); made += 1) {
  await ledger.end(`p-${String(made)}`, { kind: 'settled', inputTokens: 1, outputTokens: 1 }, nowMs)
  // What has ended is remembered for a minute, its partition as long as it counts.
  nowMs += 100
  if (made % 1000 === 0) await ledger.expire(nowMs)
}
for (let turn = 0; turn < 5; turn += 1) await ledger.expire((nowMs += 60_000))
const { partitions } = ledger.size()
const three = [holdOfCaller(0), holdOfCaller(1), holdOfCaller(2)]
// All at one moment, so that nothing of them grows old: without a bound they would take twice the heap.
for (let made = 0; made < ENDED; made += 1) {
  const id = `e-${String(made)}`
  await reserve(id, three)
  await ledger.end(id, { kind: 'settled', inputTokens: 1, outputTokens: 1 }, nowMs)
}
const two = [holdOfCaller(0), holdOfCaller(1)]
for (let made = 0; await reserve(`r-${String(made)}`, two); made += 1);
const { reservations } = ledger.size()

const filled: Filled = { heapBytes, partitions, reservations, bytes: usedBytes() - before }
process.stdout.write(JSON.stringify(filled))
// It is in use until then.
await ledger.close()
