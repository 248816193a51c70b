import { expect, test } from 'vitest'
import { CLUSTER_BUCKETS, createBuckets } from '../../src/quota/redis/buckets.js'
import { loadRedisScripts } from '../../src/quota/redis/scripts.js'
import { createComing } from '../../src/quota/slices/coming.js'

// A look goes through all that is untold, which may be 4000 reservations.

test('where the turns of many buckets fail at once it is looked for what is late once, and again half a second later', () => {
  let nowMs = 0
  let looks = 0
  const coming = createComing<string>({
    script: loadRedisScripts().coming,
    ask: () => Promise.reject(new Error('nothing is late')),
    buckets: createBuckets(CLUSTER_BUCKETS),
    clock: { monotonicMs: () => nowMs },
    nowAt: () => nowMs,
    late: () => {
      looks += 1
      return []
    },
  })
  for (let bucket = 0; bucket < 85; bucket += 1) coming.tellSoon()
  expect(looks).toBe(1)
  nowMs += 499
  coming.tellSoon()
  expect(looks).toBe(1)
  // That of upkeep is a look of its own.
  coming.tell()
  expect(looks).toBe(2)
  nowMs += 1
  coming.tellSoon()
  coming.tellSoon()
  expect(looks).toBe(3)
})
