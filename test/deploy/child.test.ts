import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { startChild, waitUntil } from '../../deploy/demo/child.js'

test('a part that is not ready in time is stopped, and the message names its log', async () => {
  const logFile = join(mkdtempSync(join(tmpdir(), 'child-')), 'log')
  const args = ['-e', 'setInterval(() => undefined, 1000)']
  const child = await startChild({ command: process.execPath, args, logFile })
  const waited = waitUntil(() => Promise.resolve(false), { name: 'It', child, timeoutMs: 1 })
  await expect(waited).rejects.toThrow(`It was not ready after 1 ms: see ${logFile}`)
  expect(child.running()).toBe(false)
})
