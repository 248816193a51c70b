import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { boundsIn } from '../../src/quota/memory/bounds.js'
import type { Filled } from './heap-program.js'

test('a process with a small heap lives when its ledger is full, which takes half of the heap', async () => {
  const program = join(import.meta.dirname, 'heap-program.ts')
  const options = ['--max-old-space-size=64', '--max-semi-space-size=1', '--import', 'tsx']
  const { stdout } = await promisify(execFile)(process.execPath, [...options, program])
  const { heapBytes, partitions, reservations, bytes } = JSON.parse(stdout) as Filled
  const { maxPartitions, maxReservations } = boundsIn(heapBytes)
  expect({ partitions, reservations }).toEqual({
    partitions: maxPartitions,
    reservations: maxReservations,
  })
  expect(bytes).toBeLessThan(heapBytes / 2)
})
