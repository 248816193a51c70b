// Run by `run.ts` with --expose-gc: bytes of memory per partition of the memory ledger.
import { createMemoryLedger } from '../src/quota/memory-ledger.js'
import { partitionKey } from '../src/quota/keys.js'
import type { Quota } from '../src/quota/quota.js'

const PARTITIONS = 100_000

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

const rows: { window: string; bytes: number }[] = []
for (const quota of quotas) {
  const ledger = createMemoryLedger<null>()
  const before = heapBytes()
  for (let index = 0; index < PARTITIONS; index += 1) {
    const id = String(index)
    const key = partitionKey(quota, {
      tenant: 'acme',
      subject: `user-${id}`,
      client: undefined,
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
  rows.push({ window: quota.window.kind, bytes: Math.round((heapBytes() - before) / partitions) })
  await ledger.close()
}
process.stdout.write(JSON.stringify(rows))
