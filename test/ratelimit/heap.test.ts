import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { MAX_COUNTERS, maxCountersIn } from '../../src/ratelimit/memory-counters.js'
import type { Filled } from './heap-program.js'

test('a process with a small heap has as many counters as a sixteenth of it has room for', async () => {
  const program = join(import.meta.dirname, 'heap-program.ts')
  const options = ['--max-old-space-size=64', '--max-semi-space-size=1', '--import', 'tsx']
  const { stdout } = await promisify(execFile)(process.execPath, [...options, program])
  const { heapBytes, counters, bytes } = JSON.parse(stdout) as Filled
  expect(counters).toBe(maxCountersIn(heapBytes))
  // Where the table of the counters has just grown they take the most.
  expect(bytes).toBeLessThan(heapBytes / 16)
  expect(bytes).toBeGreaterThan(heapBytes / 32)
})

test('however large the heap is, there is room for a million counters', () => {
  expect(maxCountersIn(2 ** 40)).toBe(MAX_COUNTERS)
})
