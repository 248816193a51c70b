import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { expect, test } from 'vitest'

test('a process that an exception ends has written its log', () => {
  const program = join(import.meta.dirname, 'crashing-program.ts')
  const { stdout, status } = spawnSync(process.execPath, ['--import', 'tsx', program])
  const messages = stdout
    .toString()
    .trimEnd()
    .split('\n')
    .map((line) => (JSON.parse(line) as { msg: string }).msg)
  expect(messages.sort()).toEqual(['first', 'second', 'third'])
  expect(status).toBe(1)
})
