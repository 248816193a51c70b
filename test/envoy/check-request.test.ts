import fc from 'fast-check'
import { describe, expect, it, test } from 'vitest'
import { toIncomingRequest } from '../../src/envoy/check-request.js'
import type { ReadCheck } from '../../src/envoy/check-request.js'
import type { CheckRequest, HeaderValue, HttpRequest } from '../../src/envoy/wire.js'
import { runs } from '../runs.js'

const { signal } = new AbortController()
const path = '/v1/chat/completions'

type Line = readonly [name: string, value: string | Buffer]

/** As Envoy sends it with `encode_raw_headers` and `pack_as_bytes`. */
function rawCheck(lines: readonly Line[], http: HttpRequest = {}): CheckRequest {
  const headers = lines.map(([key, value]): HeaderValue => ({
    key,
    rawValue: typeof value === 'string' ? Buffer.from(value, 'latin1') : value,
  }))
  return {
    attributes: {
      source: { principal: 'spiffe://example.org/app' },
      request: {
        time: { seconds: 1_700_000_000, nanos: 42 },
        http: { id: '7', method: 'POST', path, headerMap: { headers }, ...http },
      },
    },
  }
}

/** As Envoy sends it without them. */
function joinedCheck(headers: Record<string, string>, http: HttpRequest = {}): CheckRequest {
  return { attributes: { request: { http: { method: 'POST', path, headers, ...http } } } }
}

function read(check: CheckRequest): ReadCheck {
  return toIncomingRequest(check, signal)
}

function faultOf(check: CheckRequest): string | undefined {
  return read(check).fault?.reason
}

describe('what identifies a request', () => {
  it('is the id and the start of the stream, to the nanosecond', () => {
    const { request } = read(rawCheck([['x-request-id', 'abc']]))
    expect(request).toMatchObject({
      streamId: '7',
      startedAt: '1700000000.000000042',
      requestId: 'abc',
      method: 'POST',
      path,
      peer: 'spiffe://example.org/app',
      signal,
    })
  })

  it('is empty, not invented, where Envoy did not say', () => {
    const { request } = read(joinedCheck({}))
    expect(request).toMatchObject({ streamId: '', startedAt: '', peer: '', requestId: undefined })
  })

  it('never holds more of x-request-id than a label needs', () => {
    const { request } = read(rawCheck([['x-request-id', `"${'\u00e9'.repeat(5000)}`]]))
    expect(request.requestId).toMatch(/^\?{61}\.\.\.$/)
  })

  it('has no request id when the client sent two', () => {
    const lines: Line[] = [
      ['x-request-id', 'a'],
      ['x-request-id', 'b'],
    ]
    expect(read(rawCheck(lines)).request.requestId).toBeUndefined()
  })

  it('survives a message with nothing in it', () => {
    const { request, fault } = read({})
    expect(fault?.reason).toBe('path_invalid')
    expect(request).toMatchObject({ method: '', path: '', body: undefined })
  })
})

describe('the path', () => {
  const normal: readonly (readonly [string, string])[] = [
    ['/v1/chat/completions', '/v1/chat/completions'],
    ['/v1/chat/completions?', '/v1/chat/completions'],
    ['/v1/chat/completions?a=%2f..%2f&b=1', '/v1/chat/completions'],
    ['/v1/models?/../x?y', '/v1/models'],
    ['/', '/'],
    // Not the same path to every engine, so not the same to us: no rule matches them.
    ['/v1/chat/completions/', '/v1/chat/completions/'],
    ['/V1/Chat/Completions', '/V1/Chat/Completions'],
    ['/v1/chat/completions;a=b', '/v1/chat/completions;a=b'],
    ['/v1/chat/completions.', '/v1/chat/completions.'],
    ['/v1/...', '/v1/...'],
  ]
  test.each(normal)('%s is decided on as %s', (target, expected) => {
    const { request, fault } = read(rawCheck([], { path: target }))
    expect(fault).toBeUndefined()
    expect(request.path).toBe(expected)
  })

  const ambiguous = [
    '',
    '*',
    'v1/models',
    'http://other.example/v1/models',
    'https:/v1/models',
    '//v1/models',
    '/v1//chat/completions',
    '/v1/./models',
    '/v1/../admin',
    '/v1/..',
    '/v1/.',
    '/..',
    '/v1/%2e%2e/admin',
    '/v1%2fmodels',
    '/v1%2Fmodels',
    '/v1%5cmodels',
    '/v1\\models',
    '/v1/models%00',
    '/v1/models\0',
    '/v1/%25%32%65/x',
    '/v1/models%',
    '/v1/models#x',
    '/v1/models?x#y',
    '/v1/models ',
    '/v1/models\t',
    '/v1/models\r\na: b',
    '/v1/models?a\r\nb',
    '/v1/caf\u00e9',
    '/v1/\u2024\u2024/admin',
    '/v1/models?\u00e9',
    `/${'a'.repeat(8192)}`,
    `/?${'a'.repeat(65_536)}`,
  ]
  test.each(ambiguous)('%j is refused', (target) => {
    const { request, fault } = read(rawCheck([['authorization', 'Bearer a']], { path: target }))
    expect(fault?.reason).toBe('path_invalid')
    // For the record: printable, short, without the query.
    expect(request.path).toMatch(/^[\x20-\x7e]{0,64}$/)
    expect(request.path).not.toContain('?x')
    expect(request.headers.size).toBe(0)
  })

  it('is taken at its longest', () => {
    expect(faultOf(rawCheck([], { path: `/?${'a'.repeat(8190)}` }))).toBeUndefined()
    expect(faultOf(rawCheck([], { path: `/?${'a'.repeat(8191)}` }))).toBe('path_invalid')
  })

  it('is a fixed point: what was taken is taken again, unchanged', () => {
    const pieces = fc.constantFrom(
      '/',
      '.',
      '..',
      'v1',
      '%',
      '%2e',
      '?',
      '#',
      '\\',
      ';',
      'a',
      '\u00e9',
    )
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 12 }), (parts) => {
        const first = read(rawCheck([], { path: `/${parts.join('')}` }))
        if (first.fault !== undefined) return
        const again = read(rawCheck([], { path: first.request.path }))
        expect(again.fault).toBeUndefined()
        expect(again.request.path).toBe(first.request.path)
        expect(new URL(first.request.path, 'http://a').pathname).toBe(first.request.path)
      }),
      { numRuns: runs(2000) },
    )
  })
})

describe('headers', () => {
  it('keep every line of a repeated name, in lower case', () => {
    const lines: Line[] = [
      ['Authorization', 'Bearer a'],
      ['authorization', 'Bearer b'],
    ]
    const { request } = read(rawCheck(lines))
    expect([...request.headers]).toEqual([['authorization', ['Bearer a', 'Bearer b']]])
  })

  it('leave out pseudo headers', () => {
    const lines: Line[] = [
      [':method', 'POST'],
      [':path', path],
      [':authority', 'a'],
      [':scheme', 'https'],
      ['accept', '*/*'],
    ]
    expect([...read(rawCheck(lines)).request.headers.keys()]).toEqual(['accept'])
  })

  it('are taken in `value` where a server sends them there', () => {
    const check = rawCheck([], { headerMap: { headers: [{ key: 'accept', value: '*/*' }] } })
    expect(read(check).request.headers.get('accept')).toEqual(['*/*'])
  })

  it('may be called like parts of an object', () => {
    const { request, fault } = read(
      rawCheck([
        ['__proto__', 'a'],
        ['constructor', 'b'],
      ]),
    )
    expect(fault).toBeUndefined()
    expect([...request.headers]).toEqual([
      ['__proto__', ['a']],
      ['constructor', ['b']],
    ])
  })

  it('are taken at their most', () => {
    const lines = (count: number): Line[] =>
      Array.from({ length: count }, (_, index) => [`x-${String(index)}`, 'a'])
    expect(faultOf(rawCheck(lines(256)))).toBeUndefined()
    expect(faultOf(rawCheck(lines(257)))).toBe('headers_invalid')
    expect(faultOf(rawCheck([['cookie', 'a'.repeat(65_530)]]))).toBeUndefined()
    expect(faultOf(rawCheck([['cookie', 'a'.repeat(65_531)]]))).toBe('headers_invalid')
  })

  const refused: readonly (readonly [string, CheckRequest])[] = [
    [
      'in two shapes',
      rawCheck([['authorization', 'Bearer a']], { headers: { authorization: 'Bearer b' } }),
    ],
    [
      'with two values in one line',
      rawCheck([], {
        headerMap: { headers: [{ key: 'accept', value: 'a', rawValue: Buffer.from('b') }] },
      }),
    ],
    ['without a name', rawCheck([['', 'a']])],
    ['with a space in a name', rawCheck([['x y', 'a']])],
    ['with a line break in a name', rawCheck([['x\r\ny', 'a']])],
    ['with a letter outside ASCII in a name', rawCheck([['x-\u212a', 'a']])],
    ['with CR LF in a value', rawCheck([['accept', 'a\r\nx-tollgate-pool: b']])],
    ['with LF in a value', rawCheck([['accept', 'a\nb']])],
    ['with NUL in a value', rawCheck([['accept', 'a\0b']])],
    [
      'with a pseudo header twice',
      rawCheck([
        [':path', path],
        [':path', path],
      ]),
    ],
    ['with an unknown pseudo header', rawCheck([[':protocol', 'websocket']])],
    ['with another path than the request line', rawCheck([[':path', '/v1/models']])],
    ['with another method than the request line', rawCheck([[':method', 'GET']])],
    ['with bytes outside ASCII in a credential', rawCheck([['authorization', 'Bearer caf\u00e9']])],
    ['with bytes outside ASCII in an API key', rawCheck([['x-api-key', Buffer.from([0xff])]])],
    [
      'with bytes outside ASCII in a content type',
      rawCheck([['content-type', 'application/json\u00a0']]),
    ],
    [
      'with bytes outside ASCII in a content encoding',
      rawCheck([['content-encoding', 'gz\u00efp']]),
    ],
    ['with `!` in a joined credential', joinedCheck({ authorization: 'Bearer a!b' })],
    ['with a comma in a joined credential', joinedCheck({ authorization: 'Bearer a,Bearer b' })],
    [
      'with a comma in a joined content type',
      joinedCheck({ 'content-type': 'application/json,text/plain' }),
    ],
    ['that override the method', rawCheck([['x-http-method-override', 'GET']])],
    ['that override the method, in the other spelling', rawCheck([['X-Method-Override', 'GET']])],
    [
      'that override the method, for a server behind',
      rawCheck([['x_http_method-override', 'GET']]),
    ],
  ]
  test.each(refused)('are refused %s', (_name, check) => {
    const { request, fault } = read(check)
    expect(fault?.reason).toBe('headers_invalid')
    expect(request.headers.size).toBe(0)
    expect(request.body).toBeUndefined()
    expect(fault?.message).toMatch(/^[\x20-\x7e]{1,120}$/)
  })
})

describe('the body', () => {
  const json = '{"a":"\u00e9"}'
  const bytes = Buffer.from(json)

  it('is the raw one where there is one', () => {
    expect(read(rawCheck([], { rawBody: bytes })).request.body).toBe(bytes)
    expect(read(rawCheck([], { rawBody: bytes, body: 'sanitised' })).request.body).toBe(bytes)
  })

  it('is the text in UTF-8 where there is no raw one', () => {
    expect(read(joinedCheck({}, { body: json })).request.body).toEqual(bytes)
  })

  it('is missing, not empty, when Envoy buffered none', () => {
    expect(read(rawCheck([])).request.body).toBeUndefined()
    expect(read(rawCheck([], { rawBody: Buffer.alloc(0), body: '' })).request.body).toBeUndefined()
  })

  it('fits its content-length', () => {
    const check = (length: string): CheckRequest =>
      rawCheck([['content-length', length]], { rawBody: bytes })
    expect(faultOf(check(String(bytes.length)))).toBeUndefined()
    expect(faultOf(check(`0${String(bytes.length)}`))).toBeUndefined()
    expect(faultOf(check(String(bytes.length - 1)))).toBe('headers_invalid')
    expect(faultOf(check(String(bytes.length + 1)))).toBe('headers_invalid')
    expect(faultOf(check('0'))).toBe('headers_invalid')
  })

  it('may be missing whatever content-length says, for a caller without a credential', () => {
    expect(faultOf(rawCheck([['content-length', '5000000']]))).toBeUndefined()
  })

  test.each(['', '-1', '+5', '5.0', '0x5', '1e3', ' 5', '5, 5', '9'.repeat(16), '\u0665'])(
    'is refused with content-length %j',
    (length) => {
      expect(faultOf(rawCheck([['content-length', Buffer.from(length)]]))).toBe('headers_invalid')
    },
  )

  it('is refused with two content-lengths, even the same', () => {
    const lines: Line[] = [
      ['content-length', '2'],
      ['content-length', '2'],
    ]
    expect(faultOf(rawCheck(lines, { rawBody: Buffer.from('{}') }))).toBe('headers_invalid')
  })

  const partial: readonly (readonly [string, CheckRequest])[] = [
    ['true', rawCheck([['x-envoy-auth-partial-body', 'true']], { rawBody: bytes })],
    [
      'True, after false',
      rawCheck([
        ['x-envoy-auth-partial-body', 'false'],
        ['x-envoy-auth-partial-body', 'True'],
      ]),
    ],
    ['anything but false', rawCheck([['x-envoy-auth-partial-body', '']])],
    [
      'true in the joined shape',
      joinedCheck({ 'x-envoy-auth-partial-body': 'true' }, { body: 'a' }),
    ],
  ]
  test.each(partial)('is refused as a part when Envoy says %s', (_name, check) => {
    expect(faultOf(check)).toBe('body_too_large')
  })
})

describe('hostile input', () => {
  it('is read or refused, and never throws', () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.constantFrom(':path', 'content-length', '1'),
    )
    const bytes = fc.uint8Array({ maxLength: 32 }).map((array) => Buffer.from(array))
    const check = fc.record(
      {
        id: text,
        method: text,
        path: fc.oneof(text, fc.constant(path)),
        body: text,
        rawBody: bytes,
        headers: fc.dictionary(text, text),
        headerMap: fc.record({
          headers: fc.array(
            fc.record({ key: text, value: text, rawValue: bytes }, { requiredKeys: [] }),
          ),
        }),
      },
      { requiredKeys: [] },
    )
    fc.assert(
      fc.property(check, (http) => {
        const { request, fault } = read({ attributes: { request: { http } } })
        if (fault !== undefined) {
          expect(request.headers.size).toBe(0)
          expect(request.body).toBeUndefined()
          return
        }
        expect(request.path).toMatch(/^\/[\x21-\x7e]*$/)
        for (const [name, values] of request.headers) {
          expect(name).toMatch(/^[^:A-Z\s][^A-Z\s]*$/)
          for (const value of values) expect(value).not.toMatch(/[\0\r\n]/)
        }
      }),
      { numRuns: runs(500) },
    )
  })
})
