import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import type { Beyond } from './heap-redis-program.js'

test('a process with a small heap lives with more reservations in Redis than it can remember', async () => {
  const program = join(import.meta.dirname, 'heap-redis-program.ts')
  const options = ['--max-old-space-size=64', '--max-semi-space-size=1', '--import', 'tsx']
  const { stdout } = await promisify(execFile)(process.execPath, [...options, program])
  const { heapBytes, reservations, remembered, bytes } = JSON.parse(stdout) as Beyond
  expect(remembered).toBeGreaterThan(reservations / 10)
  expect(bytes).toBeLessThan(heapBytes / 8)
})
