import { afterAll, describe, expect, test } from 'vitest'
import { createTokenCounter } from '../../src/llm/tokens.js'
import { ask } from './bodies.js'

const counter = createTokenCounter()
counter.load(['cl100k_base'])
afterAll(() => {
  counter.free()
})

function tokensOf(texts: readonly string[]): number {
  return counter.count('cl100k_base', texts).tokens
}

/** What is held for the prompt of a body before the preamble: its texts and the marks around them. */
function counted(path: string, body: object): number {
  const { segments, markupTokens } = ask(path, { model: 'llama', max_tokens: 1, ...body })
  return tokensOf(segments.map(({ text }) => text)) + markupTokens
}

const chat = '/v1/chat/completions'
const hello = { role: 'user', content: 'hello' }

describe('the tokens that a template prints around the texts', () => {
  test.each([
    ['empty messages', chat, { role: 'user', content: '' }],
    ['messages without parts', chat, { role: 'user', content: [] }],
    ['assistants that said nothing', chat, { role: 'assistant', content: null }],
    ['empty messages', '/v1/messages', { role: 'user', content: '' }],
    ['messages without blocks', '/v1/messages', { role: 'user', content: [] }],
  ])('are counted for %s of %s', (_, path, message) => {
    // <|im_start|>, the role, a line break, <|im_end|>, a line break
    const leastTokens = 5
    const messages = Array.from({ length: 1000 }, () => message)
    expect(counted(path, { messages })).toBeGreaterThanOrEqual(1000 * leastTokens)
  })

  const list = (item: unknown): object => ({ enum: Array.from({ length: 1000 }, () => item) })
  test.each([
    [
      'properties',
      { type: 'object', properties: { a: { type: 'string' }, b: { type: 'number' } } },
    ],
    ['empty lists', list([])],
    ['empty objects', list({})],
    ['empty strings', list('')],
    ['numbers', list(1)],
    ['line breaks', { description: '\n'.repeat(5000) }],
    ['quotes', { description: '"'.repeat(5000) }],
    ['control characters', { description: '\u0001'.repeat(1000) }],
  ])('are counted for the JSON of a tool with %s', (_, schema) => {
    const definition = { name: 'f', parameters: schema }
    const openai = { type: 'function', function: definition }
    const anthropic = { name: 'f', input_schema: schema }
    // Templates print it compact or, as Llama's, with an indent of 4.
    const printed = (tool: object): number => tokensOf([JSON.stringify(tool, null, 4)])
    expect(counted(chat, { messages: [hello], tools: [openai] })).toBeGreaterThanOrEqual(
      printed(openai),
    )
    expect(
      counted('/v1/messages', { messages: [hello], tools: [anthropic] }),
    ).toBeGreaterThanOrEqual(printed(anthropic))
  })

  test('are counted for the arguments of a tool call, which are printed as JSON again', () => {
    const arguments_ = JSON.stringify({ text: '\n'.repeat(5000) })
    const call = { id: '1', type: 'function', function: { name: 'f', arguments: arguments_ } }
    const messages = [hello, { role: 'assistant', content: null, tool_calls: [call] }]
    expect(counted(chat, { messages })).toBeGreaterThanOrEqual(tokensOf([arguments_]))

    const use = { type: 'tool_use', id: '1', name: 'f', input: { text: '\n'.repeat(5000) } }
    const blocks = [hello, { role: 'assistant', content: [use] }]
    expect(counted('/v1/messages', { messages: blocks })).toBeGreaterThanOrEqual(
      tokensOf([arguments_]),
    )
  })

  test('are few for ordinary messages', () => {
    expect(ask(chat, { model: 'llama', messages: [hello, hello] }).markupTokens).toBe(16)
  })
})
