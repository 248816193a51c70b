import { getHeapStatistics } from 'node:v8'
import type * as memoryCountersModule from '../../src/ratelimit/memory-counters.js'
import { usedBytes } from '../used-bytes.js'

// A process of its own with the built counters, as `heap.test.ts` starts it: fills them, and says what that took.

export interface Filled {
  readonly heapBytes: number
  readonly counters: number
  readonly bytes: number
}

const built = new URL('../../dist/ratelimit/memory-counters.js', import.meta.url)
const { createMemoryCounters, maxCountersIn } = (await import(
  built.href
)) as typeof memoryCountersModule

const heapBytes = getHeapStatistics().heap_size_limit
const counters = createMemoryCounters({
  clock: { nowEpochMs: () => 59_000 },
  stopWhenOver: false,
  maxCounters: maxCountersIn(heapBytes),
})
const limit = { requestsPerUnit: 1, unit: 'year' } as const

/** Counts that are too large to be kept in place. @returns was there room? */
async function count(value: string): Promise<boolean> {
  const ask = { counted: [{ key: 'k', value }], limit, hits: 5e9, isRefund: false }
  return counters.count('d', [ask]).then(
    () => true,
    () => false,
  )
}

const before = usedBytes()
let made = 0
while (await count(String(made))) made += 1
const filled: Filled = { heapBytes, counters: made, bytes: usedBytes() - before }
process.stdout.write(JSON.stringify(filled))
// They are in use until then.
void counters.close()
