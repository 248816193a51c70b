import { expect, test } from 'vitest'
import { dialectNamed } from '../../src/llm/dialects.js'
import type { Pool } from '../../src/prompt/pool.js'
import { createThreadedReader } from '../../src/prompt/threaded.js'

test('two callers never share one place, however their names join', async () => {
  const callers: string[] = []
  const pool: Pool = {
    hold(_source, caller) {
      callers.push(caller)
      return {
        run: async () => ({ kind: 'failed', errorName: 'Error' }),
        close: () => undefined,
      }
    },
    ready: async () => undefined,
    close: async () => undefined,
  }
  const reader = createThreadedReader(pool)
  const names = [
    ['a', 'bc'],
    ['ab', 'c'],
    ['a,b', 'c'],
    ['a', 'b,c'],
    ['a","b', 'c'],
    ['a', 'b","c'],
    ['a', 'bc'],
  ] as const
  for (const [tenant, subject] of names) {
    const opening = reader.open({
      dialect: dialectNamed('openai'),
      path: '/v1/chat/completions',
      body: new Uint8Array(1),
      principal: { tenant, subject },
      signal: new AbortController().signal,
    })
    await expect(opening).rejects.toThrow('reading of a large prompt failed')
  }
  expect(new Set(callers).size).toBe(names.length - 1)
  expect(callers.at(-1)).toBe(callers[0])
})
