import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { dialectNamed } from '../../src/llm/dialects.js'
import { INLINE_BYTES } from '../../src/prompt/prompt.js'
import { createPromptReader } from '../../src/prompt/reader.js'
import { KIB_BYTES } from '../../src/units.js'

/** A chat of exactly so many bytes. */
function chatOf(bytes: number): Buffer {
  const empty = JSON.stringify({ model: 'm', max_tokens: 5, messages: [], user: '' })
  return Buffer.from(empty.replace('"user":""', `"user":"${'a'.repeat(bytes - empty.length)}"`))
}

test('what the event loop reads itself ends well below 64 KiB: one byte more needs a worker', async () => {
  expect(INLINE_BYTES).toBeLessThanOrEqual(64 * KIB_BYTES)
  const reader = createPromptReader({
    // It ends as soon as it is given anything, so whatever needs a worker fails.
    workerFile: new URL('fixtures/dying-worker.mjs', import.meta.url),
    workers: 1,
    inlineBytes: INLINE_BYTES,
    timeoutMs: 20_000,
    maxOpenBytes: 64 * KIB_BYTES * KIB_BYTES,
    encodings: ['cl100k_base'],
    clock: systemClock,
  })
  const read = (bytes: number) =>
    reader.open({
      dialect: dialectNamed('openai'),
      path: '/v1/chat/completions',
      body: chatOf(bytes),
      principal: { tenant: 'acme', subject: 'alice' },
      signal: new AbortController().signal,
    })
  // Read, and refused for what it is: it has no messages.
  expect(await read(INLINE_BYTES)).toMatchObject({ kind: 'denied', reason: 'request_invalid' })
  await expect(read(INLINE_BYTES + 1)).rejects.toThrow('the worker thread ended')
  await reader.close()
})

test.each(['docs/configuration.md', 'docs/inspection.md'])('%s says where it ends', (file) => {
  expect(readFileSync(file, 'utf8')).toContain(`over ${String(INLINE_BYTES / KIB_BYTES)} KiB`)
})
