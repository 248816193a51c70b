import { describe, expect, test } from 'vitest'
import { denialStatus } from '../../src/denial.js'
import { dialectForPath, dialectNamed, dialects } from '../../src/llm/dialects.js'
import { blockFields, messageRequestFields } from '../../src/llm/dialects/anthropic-fields.js'
import { chatFields, completionFields } from '../../src/llm/dialects/openai-fields.js'
import type { FieldKind } from '../../src/llm/fields.js'
import { totalInputTokens } from '../../src/llm/usage.js'
import { ask } from './bodies.js'

describe('paths', () => {
  test.each([
    ['/v1/chat/completions', 'openai'],
    ['/v1/completions', 'openai'],
    ['/v1/messages', 'anthropic'],
  ])('%s is read by %s', (path, name) => {
    expect(dialectForPath(path)?.name).toBe(name)
  })

  test.each([
    [''],
    ['/'],
    ['/v1/chat/completions/'],
    ['/V1/chat/completions'],
    ['/v1/chat/completions?x'],
    ['/v1/embeddings'],
    ['/v1/messages/count_tokens'],
    ['constructor'],
  ])('%j is read by none', (path) => {
    expect(dialectForPath(path)).toBeUndefined()
  })

  test('no two dialects share a name', () => {
    expect(new Set(dialects.map(({ name }) => name)).size).toBe(dialects.length)
  })

  test('a name that is none is a failure, not a guess', () => {
    expect(() => dialectNamed('constructor')).toThrow(RangeError)
  })

  test('no path has two dialects', () => {
    const paths = dialects.flatMap((dialect) => dialect.paths)
    expect(new Set(paths).size).toBe(paths.length)
  })
})

describe('field tables', () => {
  const tables = [chatFields, completionFields, messageRequestFields, ...blockFields.values()]
  test('no two known names look alike, or one would be refused for the other', () => {
    for (const table of tables) expect(table.folded.size).toBe(table.rules.size)
  })
})

const PROMPT = 'What does a toll gate do?'

/** The least that each path can read, without an output cap. A new path needs a line here. */
const leastBodies: Readonly<Record<string, object>> = {
  '/v1/chat/completions': { model: 'llama', messages: [{ role: 'user', content: PROMPT }] },
  '/v1/completions': { model: 'llama', prompt: PROMPT },
  '/v1/messages': { model: 'llama', messages: [{ role: 'user', content: PROMPT }] },
}

/** A value that a field of this kind takes. */
function sampleOf(kind: FieldKind): unknown {
  if (typeof kind === 'object') {
    if ('fields' in kind || 'any' in kind) return { sample: 'sample' }
    return 'sample'
  }
  switch (kind) {
    case 'boolean':
      return true
    case 'number':
    case 'integer':
    case 'count':
      return 1
    case 'integers':
      return [1]
    case 'biases':
      return { '1': 1 }
    case 'keyword':
    case 'opaque':
    case 'own':
      return 'sample'
  }
}

describe.each(dialects.flatMap((dialect) => dialect.paths.map((path) => ({ path, dialect }))))(
  'on $path',
  ({ path, dialect }) => {
    // In the field in which `put-in-the-cap` of envoy.yaml writes a cap, whatever the dialect.
    const body = { ...leastBodies[path], max_tokens: 9 }
    const guarded = [...dialect.fieldsOf(path).rules].filter(([, { guard }]) => guard !== undefined)

    test('the prompt is inspected and counted', () => {
      expect(ask(path, body).segments.map(({ text }) => text)).toContain(PROMPT)
    })

    test('a cap that Envoy puts in is one', () => {
      expect(ask(path, body).outputCapTokens).toBe(9)
    })

    test('a plain body holds nothing that is unknown or needs a grant', () => {
      expect(ask(path, body)).toMatchObject({ unknownFields: [], guardedFields: [] })
    })

    test('an unknown field is named, and its text is read', () => {
      const { unknownFields, segments } = ask(path, { ...body, field_of_tomorrow: 'hidden text' })
      expect(unknownFields).toEqual(['field_of_tomorrow'])
      expect(segments.some(({ text }) => text.includes('hidden text'))).toBe(true)
    })

    test('what steers an engine is free on no path', () => {
      const steering = { ...body, kv_transfer_params: { a: 1 } }
      const { unknownFields, guardedFields } = ask(path, steering)
      expect([...unknownFields, ...guardedFields]).toEqual(['kv_transfer_params'])
    })

    test.each(guarded)('%s needs a grant', (name, { kind }) => {
      expect(ask(path, { ...body, [name]: sampleOf(kind) }).guardedFields).toContain(name)
    })
  },
)

describe('error bodies', () => {
  const error = { status: 400, code: 'request_invalid', message: 'No "x".', param: 'messages[0]' }

  test("OpenAI's", () => {
    expect(JSON.parse(dialectNamed('openai').errorBody(error))).toEqual({
      error: {
        message: 'No "x".',
        type: 'invalid_request_error',
        param: 'messages[0]',
        code: 'request_invalid',
      },
    })
    const rest = { status: 400, code: 'body_missing', message: 'No body.' }
    expect(JSON.parse(dialectNamed('openai').errorBody(rest))).toMatchObject({
      error: { param: null },
    })
  })

  test("Anthropic's", () => {
    expect(JSON.parse(dialectNamed('anthropic').errorBody(error))).toEqual({
      type: 'error',
      error: {
        type: 'invalid_request_error',
        message: 'No "x".',
        code: 'request_invalid',
        param: 'messages[0]',
      },
    })
  })

  test.each([
    [400, 'invalid_request_error', 'invalid_request_error'],
    [401, 'authentication_error', 'authentication_error'],
    [403, 'permission_error', 'permission_error'],
    [404, 'invalid_request_error', 'not_found_error'],
    [405, 'invalid_request_error', 'invalid_request_error'],
    [413, 'invalid_request_error', 'request_too_large'],
    [415, 'invalid_request_error', 'invalid_request_error'],
    [429, 'rate_limit_error', 'rate_limit_error'],
    [500, 'server_error', 'api_error'],
    [503, 'server_error', 'api_error'],
    [504, 'server_error', 'timeout_error'],
    [529, 'server_error', 'overloaded_error'],
  ])('of status %s', (status, openaiType, anthropicType) => {
    const types = dialects.map((dialect) => {
      const body: unknown = JSON.parse(dialect.errorBody({ ...error, status }))
      return [dialect.name, body]
    })
    expect(Object.fromEntries(types)).toMatchObject({
      openai: { error: { type: openaiType } },
      anthropic: { error: { type: anthropicType } },
    })
  })

  test('there is one for every reason', () => {
    for (const [code, status] of Object.entries(denialStatus)) {
      for (const dialect of dialects) {
        expect(dialect.errorBody({ code, status, message: 'm' })).toContain(`"code":"${code}"`)
      }
    }
  })
})

describe('input tokens of a report', () => {
  const usage = { inputTokens: 10, outputTokens: 1, cachedTokens: 4, cacheWriteTokens: 3 }

  test("OpenAI's hold the cached ones, Anthropic's do not", () => {
    expect(totalInputTokens(dialectNamed('openai'), usage)).toBe(10)
    expect(totalInputTokens(dialectNamed('anthropic'), usage)).toBe(17)
  })

  test('are unknown when the report has none, whatever was cached', () => {
    for (const dialect of dialects) {
      expect(totalInputTokens(dialect, { ...usage, inputTokens: undefined })).toBeUndefined()
    }
  })
})
