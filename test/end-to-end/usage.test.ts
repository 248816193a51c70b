import { expect, test } from 'vitest'
import type { Behaviour } from '../../deploy/demo/gpu-node.js'
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
  // As large as log probabilities make it; the filter's own bound is 8 KiB.
  {
    name: 'a streamed chat, said in an event of 100 KB',
    request: openAiStream,
    behaviour: { paddingBytes: 100_000 },
  },
  {
    name: 'a streamed message, said in an event of 100 KB',
    request: anthropicStream,
    behaviour: { paddingBytes: 100_000, cumulativeUsage: true },
  },
]

test.each(kinds)('the usage of $name is settled and logged as the engine says it', async (kind) => {
  const { request, behaviour = {} } = kind
  nodeA.behave(behaviour)
  const answer = await stack.send({ caller: 'alice', ...request })
  expect(answer.status).toBe(200)
  expect(answer.text.length).toBeGreaterThan(behaviour.paddingBytes ?? 0)

  const { generation } = lastServed(nodeA)
  const { cachedTokens, cacheWriteTokens, inputTokens, outputTokens } = generation
  // OpenAI's input holds what came from the cache, Anthropic's does not: its total needs every figure.
  expect(await stack.endOf(answer)).toMatchObject({ outcome: 'settled', inputTokens, outputTokens })
  const anthropic = request.path === '/v1/messages'
  expect((await stack.accessLogOf(answer)).members).toMatchObject({
    input_tokens: anthropic ? inputTokens - cachedTokens - cacheWriteTokens : inputTokens,
    output_tokens: outputTokens,
    cached_tokens: cachedTokens,
    cache_write_tokens: anthropic ? cacheWriteTokens : null,
  })
})
