// Run by `run.ts` with --expose-gc: bytes of memory per partition and per open reservation of the memory ledger, and per
// counter of rate limits. A number behind it is that of the partitions.
import { createMemoryLedger } from '../src/quota/memory/memory-ledger.js'
import { partitionKey } from '../src/quota/keys.js'
import { createMemoryCounters } from '../src/ratelimit/memory-counters.js'
import { exampleAdmission } from '../test/example-admission.js'
import type { Quota } from '../src/quota/quota.js'

const PARTITIONS = Number(process.argv[2] ?? 100_000)
const RESERVATIONS = 20_000
/** A little more than a power of two: the table that they are in has just grown. */
const COUNTERS = 263_000

const base = {
  limit: 1e9,
  by: ['tenant', 'subject'],
  groups: [],
  models: [],
  shadow: false,
} as const
const quotas: readonly Quota[] = [
  { ...base, name: 'minute', unit: 'tokens', window: { kind: 'sliding', lengthMs: 60_000 } },
  {
    ...base,
    name: 'day',
    unit: 'tokens',
    window: { kind: 'calendar', period: 'day', timeZone: 'UTC' },
  },
]

function heapBytes(): number {
  ;(globalThis as { gc?: () => void }).gc?.()
  const { heapUsed, external, arrayBuffers } = process.memoryUsage()
  return heapUsed + external + arrayBuffers
}

const rows: { of: string; bytes: number }[] = []
for (const quota of quotas) {
  const ledger = createMemoryLedger<null>()
  const before = heapBytes()
  for (let index = 0; index < PARTITIONS; index += 1) {
    const id = String(index)
    const key = partitionKey(quota, {
      tenant: 'acme',
      subject: `user-${id}`,
      client: undefined,
      apiKey: undefined,
      groups: [],
      model: 'm',
      pool: 'gpu',
      route: '/v1/completions',
      spiffe: undefined,
      claims: new Map(),
    })
    const holds = [{ quota, partitionKey: key, amount: 100 }]
    await ledger.reserve(
      { id, idempotencyKey: id, holds, context: null, leaseMs: 1 },
      1_800_000_000_000,
    )
    await ledger.end(id, { kind: 'settled', inputTokens: 1, outputTokens: 1 }, 1_800_000_000_000)
  }
  // Everything but the partitions themselves is forgotten after a while: reservations and idempotency keys.
  for (let sweep = 0; sweep < 200; sweep += 1)
    await ledger.expire(1_800_000_000_000 + 61_000 - 2000)
  const { partitions } = ledger.size()
  rows.push({
    of: `partition of a ${quota.window.kind} window`,
    bytes: Math.round((heapBytes() - before) / partitions),
  })
  await ledger.close()
}

const ledger = createMemoryLedger<object>()
const before = heapBytes()
for (let index = 0; index < RESERVATIONS; index += 1) {
  const id = `reservation-${String(index)}`
  const holds = quotas.map((quota) => ({ quota, partitionKey: quota.name, amount: 100 }))
  // Texts of its own, as each request brings them.
  const context = exampleAdmission({ auditId: id, subject: `user-${String(index)}` })
  await ledger.reserve(
    { id, idempotencyKey: `stream:${id}`, holds, context, leaseMs: 1_860_000 },
    1_800_000_000_000,
  )
}
rows.push({
  of: 'open reservation of two quotas',
  bytes: Math.round((heapBytes() - before) / RESERVATIONS),
})
await ledger.close()

const counters = createMemoryCounters({
  clock: { nowEpochMs: () => 1_800_000_000_000 },
  stopWhenOver: false,
})
const empty = heapBytes()
for (let index = 0; index < COUNTERS; index += 1) {
  const counted = [{ key: 'k', value: String(index) }]
  const limit = { requestsPerUnit: 1, unit: 'year' } as const
  // Too many to be kept in place.
  await counters.count('d', [{ counted, limit, hits: 2 ** 31, isRefund: false }])
}
rows.push({
  of: 'counter of a rate limit, at most',
  bytes: Math.round((heapBytes() - empty) / COUNTERS),
})
void counters.close()
process.stdout.write(JSON.stringify(rows))
