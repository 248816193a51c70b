import { describe, expect, test } from 'vitest'
import type { IncomingRequest } from '../src/request.js'
import { checkShape } from '../src/shape.js'
import { postOf } from './example-request.js'

const capBytes = 1000

function post(
  headers: readonly [string, readonly string[]][],
  changes: Partial<IncomingRequest> = {},
): IncomingRequest {
  return postOf({}, { headers: new Map(headers), ...changes })
}

function reasonFor(request: IncomingRequest): string | undefined {
  return checkShape(request, capBytes)?.reason
}

const json: [string, readonly string[]] = ['content-type', ['application/json']]

describe('a body', () => {
  test('of exactly the cap passes', () => {
    expect(reasonFor(post([json], { body: Buffer.alloc(capBytes) }))).toBeUndefined()
  })

  test('of one byte more is refused, with the cap', () => {
    const denial = checkShape(post([json], { body: Buffer.alloc(capBytes + 1) }), capBytes)
    expect(denial?.reason).toBe('body_too_large')
    expect(denial?.message).toContain('1000 bytes')
  })

  test('may be missing: who has no credential is told so first', () => {
    expect(reasonFor(post([json], { body: undefined }))).toBeUndefined()
  })
})

describe('a content type', () => {
  test.each([
    'application/json',
    'Application/JSON',
    'application/json; charset=utf-8',
    'application/json;charset="UTF-8"',
  ])('passes as %s', (type) => {
    expect(reasonFor(post([['content-type', [type]]]))).toBeUndefined()
  })

  test.each<[string, readonly string[] | undefined]>([
    ['none', undefined],
    ['text', ['text/plain']],
    ['a form, which some servers read as well', ['application/x-www-form-urlencoded']],
    ['another encoding', ['application/json; charset=utf-16']],
    ['another parameter', ['application/json; version=1']],
    ['one that only begins so', ['application/jsonp']],
    ['two, even the same', ['application/json', 'application/json']],
  ])('is refused: %s', (_name, values) => {
    const headers: [string, readonly string[]][] =
      values === undefined ? [] : [['content-type', values]]
    expect(reasonFor(post(headers))).toBe('content_type_unsupported')
  })
})

describe('a content encoding', () => {
  test.each(['', 'identity'])('passes as %j', (encoding) => {
    expect(reasonFor(post([json, ['content-encoding', [encoding]]]))).toBeUndefined()
  })

  test.each<[string, readonly string[]]>([
    ['gzip', ['gzip']],
    ['a list', ['identity, gzip']],
    ['two', ['identity', 'identity']],
  ])('is refused: %s', (_name, values) => {
    expect(reasonFor(post([json, ['content-encoding', values]]))).toBe(
      'content_encoding_unsupported',
    )
  })
})
