import { expect, test } from 'vitest'
import type { Behaviour } from '../../deploy/demo/behaviour.js'
import { readerOf, readUntil } from './reading.js'
import { chat, lastServed, startTestStack } from './stack.js'
import type { SendOptions } from './stack.js'

const stack = await startTestStack((policy) => {
  for (const quota of policy.quotas) if (quota['unit'] === 'tokens') quota['limit'] = 10_000_000
  for (const model of policy.models) model['prices'] = { input: 1, output: 100 }
  const each = () => ({ window: 'day', by: ['tenant', 'subject'] })
  policy.quotas.push({ name: 'output', unit: 'output_tokens', limit: 1_000_000, ...each() })
  policy.quotas.push({ name: 'budget', unit: 'cost', limit: 1000, ...each() })
})
const { nodeA } = stack

interface Kind {
  readonly name: string
  readonly request: SendOptions
  readonly behaviour?: Behaviour
}

const openAiStream = { body: chat({ stream: true }) }
const anthropicStream = { path: '/v1/messages', body: chat({ stream: true }) }
const completion = { model: 'llama', prompt: 'Once upon a gate', max_tokens: 200 }

/** Every way in which an engine says what it used. */
const kinds: readonly Kind[] = [
  { name: 'a chat', request: { body: chat() } },
  { name: 'a streamed chat', request: openAiStream },
  { name: 'a completion', request: { path: '/v1/completions', body: completion } },
  {
    name: 'a streamed completion',
    request: { path: '/v1/completions', body: { ...completion, stream: true } },
  },
  { name: 'a message', request: { path: '/v1/messages', body: chat() } },
  { name: 'a streamed message, its input said first', request: anthropicStream },
  {
    name: 'a streamed message, all of it said last',
    request: anthropicStream,
    behaviour: { cumulativeUsage: true },
  },
]

test.each(kinds)('the usage of $name is settled and logged as the engine says it', async (kind) => {
  nodeA.behave(kind.behaviour ?? {})
  const answer = await stack.send({ caller: 'alice', ...kind.request })
  await expectSettled(answer, kind.request)
})

// An engine that reports reasoning beside its output has counted it there already.
test.each(kinds)('the reasoning of $name is spent and paid once, as output', async (kind) => {
  nodeA.behave({ ...kind.behaviour, outputTokens: 7 })
  const spent = async (): Promise<readonly number[]> => {
    const rows = [
      await stack.settledUsage('carol', 'output'),
      await stack.settledUsage('carol', 'budget'),
    ]
    // Costs in millionths, as the prices are: for a million tokens.
    return rows.map(({ unit, spent, debt }) =>
      Math.round((spent + debt) * (unit === 'cost' ? 1e6 : 1)),
    )
  }
  const before = await spent()
  const answer = await stack.send({ caller: 'carol', ...kind.request })
  expect(await stack.endOf(answer)).toMatchObject({ outcome: 'settled', outputTokens: 7 })
  const { inputTokens, outputTokens, reasoningTokens } = lastServed(nodeA).generation
  expect([outputTokens, reasoningTokens]).toEqual([7, kind.request.path === '/v1/messages' ? 0 : 4])
  const after = await spent()
  expect(after.map((sum, index) => sum - (before[index] ?? 0))).toEqual([7, inputTokens + 700])
})

// Log probabilities make events as large; the filter passes over what is larger than its bound, by default 8 KiB.
test.each([
  { name: 'chat', request: openAiStream, last: '[DONE]' },
  { name: 'message', request: anthropicStream, last: 'event: message_stop' },
])('the usage of a streamed $name may stand in an event of 100 KB', async ({ request, last }) => {
  nodeA.behave({ usageEventPaddingBytes: 100_000, cumulativeUsage: true })
  const response = await stack.open({ caller: 'alice', ...request })
  const reader = readerOf(response)
  await readUntil(reader, ' '.repeat(20_000))
  nodeA.release()
  await readUntil(reader, last)
  await expectSettled(response, request)
})

async function expectSettled(
  answer: { readonly status: number; readonly headers: Headers },
  { path }: SendOptions,
): Promise<void> {
  expect(answer.status).toBe(200)
  const { generation } = lastServed(nodeA)
  const { cachedTokens, cacheWriteTokens, inputTokens, outputTokens } = generation
  // OpenAI's input holds what came from the cache, Anthropic's does not: its total needs every figure.
  expect(await stack.endOf(answer)).toMatchObject({ outcome: 'settled', inputTokens, outputTokens })
  const anthropic = path === '/v1/messages'
  expect((await stack.accessLogOf(answer)).members).toMatchObject({
    input_tokens: anthropic ? inputTokens - cachedTokens - cacheWriteTokens : inputTokens,
    output_tokens: outputTokens,
    cached_tokens: cachedTokens,
    cache_write_tokens: anthropic ? cacheWriteTokens : null,
  })
}
