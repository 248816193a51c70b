import { afterAll, expect, test } from 'vitest'
import { isDenial } from '../../src/denial.js'
import { DependencyError } from '../../src/errors.js'
import { dialectNamed } from '../../src/llm/dialects.js'
import { createInlineReader } from '../../src/prompt/inline.js'
import type { OpenPrompt } from '../../src/prompt/prompt.js'
import { KIB_BYTES } from '../../src/units.js'
import { examplePolicy } from '../example-policy.js'

// On the event loop itself, work on one prompt must leave turns to everything else. A turn is seen by an immediate
// of the test's own: it runs when the loop goes round, never in between.

let elapsedMs = 0
/** How much time passes whenever somebody looks: with 5 ms, every slice is over at once. */
let stepMs = 5
const reader = createInlineReader({
  encodings: ['cl100k_base'],
  timeoutMs: 60_000,
  clock: { nowEpochMs: () => 0, monotonicMs: () => (elapsedMs += stepMs) },
})
afterAll(() => reader.close())

async function open(bytes: number): Promise<OpenPrompt> {
  const content = 'Good morning. '.repeat(Math.ceil(bytes / 14))
  const body = JSON.stringify({
    model: 'm',
    max_tokens: 5,
    messages: [{ role: 'user', content }],
  })
  const prompt = await reader.open({
    dialect: dialectNamed('openai'),
    path: '/v1/chat/completions',
    body: Buffer.from(body),
    principal: { tenant: 'acme', subject: 'alice' },
    signal: new AbortController().signal,
  })
  if (isDenial(prompt)) throw new Error(prompt.message)
  return prompt
}

/** What of the work was done when the loop went round for the first time since it began. */
async function orderOf(work: () => Promise<unknown>): Promise<readonly string[]> {
  const order: string[] = []
  const turn = new Promise<void>((resolve) => {
    setImmediate(() => {
      order.push('turn')
      resolve()
    })
  })
  await Promise.all([turn, work().then(() => order.push('done'))])
  return order
}

test('counting leaves a turn between its slices', async () => {
  const prompt = await open(6 * KIB_BYTES)
  expect(await orderOf(() => prompt.countTokens('cl100k_base'))).toEqual(['turn', 'done'])
})

test('inspecting leaves a turn between its slices', async () => {
  const prompt = await open(6 * KIB_BYTES)
  expect(await orderOf(() => prompt.inspect(examplePolicy().inspection))).toEqual(['turn', 'done'])
})

test('inspecting that comes to its bound is a failure, never a verdict', async () => {
  const prompt = await open(KIB_BYTES)
  stepMs = 60_000
  await expect(prompt.inspect(examplePolicy().inspection)).rejects.toThrow(DependencyError)
  stepMs = 5
})

test.each(['inspect', 'count'])(
  'reading more than 8 KiB leaves a turn before it goes on to %s',
  async (work) => {
    const order = await orderOf(async () => {
      const prompt = await open(9 * KIB_BYTES)
      if (work === 'inspect') await prompt.inspect(examplePolicy().inspection)
      else await prompt.countTokens('cl100k_base')
    })
    expect(order).toEqual(['turn', 'done'])
  },
)

test('a small prompt is read and inspected in one turn: there is nothing to wait for', async () => {
  stepMs = 0
  const order = await orderOf(async () => {
    const prompt = await open(KIB_BYTES)
    await prompt.inspect(examplePolicy().inspection)
  })
  stepMs = 5
  expect(order).toEqual(['done', 'turn'])
})

test('the pieces of several prompts have turns of their own', async () => {
  stepMs = 0
  try {
    const prompts = await Promise.all(Array.from({ length: 10 }, () => open(9 * KIB_BYTES)))
    let turn = 0
    let isOver = false
    const tick = (): void => {
      turn += 1
      if (!isOver) setImmediate(tick)
    }
    tick()
    const turns = await Promise.all(
      prompts.map(async (prompt) => {
        await prompt.inspect(examplePolicy().inspection)
        return turn
      }),
    )
    isOver = true
    expect(turns).toEqual([...new Set(turns)])
  } finally {
    stepMs = 5
  }
})
