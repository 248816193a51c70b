import { expect, test } from 'vitest'
import type { Behaviour } from '../../deploy/demo/behaviour.js'
import { readerOf, readUntil } from './reading.js'
import { chat, lastServed, startTestStack } from './stack.js'
import type { SendOptions } from './stack.js'

const stack = await startTestStack((policy) => {
  for (const quota of policy.quotas) if (quota['unit'] === 'tokens') quota['limit'] = 10_000_000
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
