import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Reason } from '../../src/denial.js'
import { readCompactJws } from '../../src/identity/compact-jws.js'
import { encode } from './identity-fixture.js'

const signature = encode(new Uint8Array(64).fill(7))
const payload = encode('{"iss":"x"}')

function withHeader(header: unknown): string {
  const text = typeof header === 'string' ? header : JSON.stringify(header)
  return `${encode(text)}.${payload}.${signature}`
}

const good = withHeader({ alg: 'ES256', kid: 'k1' })

describe('reads', () => {
  test('algorithm, key id and claims', () => {
    expect(readCompactJws(good)).toEqual({
      kind: 'unverified',
      alg: 'ES256',
      kid: 'k1',
      claims: { iss: 'x' },
    })
  })

  test.each(['JWT', 'jwt', 'at+jwt', 'AT+JWT', 'application/at+jwt', 'application/jwt'])(
    'the type %s',
    (typ) => {
      expect(readCompactJws(withHeader({ alg: 'ES256', typ }))).toMatchObject({
        kind: 'unverified',
      })
    },
  )

  test.each([
    ['path traversal', '../../etc/passwd'],
    ['SQL', "' OR 1=1 --"],
    ['__proto__', '__proto__'],
    ['256 characters', 'k'.repeat(256)],
  ])('a key id as a mere name: %s', (_, kid) => {
    expect(readCompactJws(withHeader({ alg: 'ES256', kid }))).toMatchObject({ kid })
  })

  test('a header with a thumbprint of its certificate, as Entra ID sends', () => {
    expect(readCompactJws(withHeader({ alg: 'RS256', kid: 'k', x5t: 'abc' }))).toMatchObject({
      kind: 'unverified',
    })
  })
})

const refusals: [title: string, credential: string, reason: Reason, detail?: string][] = [
  ...[
    'none',
    'None',
    'NONE',
    'nOnE',
    '',
    null,
    0,
    [],
    ['ES256'],
    {},
    'HS256',
    'HS512',
    'ES256K',
    'es256',
    'RS256 ',
    'RSA-OAEP',
    'dir',
    'PBES2-HS256+A128KW',
    'Ed448',
    'ML-DSA-44',
    'constructor',
    '0',
  ].map((alg): [string, string, Reason] => [
    `alg ${JSON.stringify(alg)}`,
    withHeader({ alg, kid: 'k1' }),
    'algorithm_refused',
  ]),
  ['no alg', withHeader({ kid: 'k1' }), 'algorithm_refused'],
  ['alg none without a signature', `${encode('{"alg":"none"}')}.${payload}.`, 'algorithm_refused'],
  ['alg twice', withHeader('{"alg":"none","alg":"ES256"}'), 'credential_malformed'],
  [
    'alg twice, once escaped',
    withHeader('{"alg":"ES256","\\u0061lg":"none"}'),
    'credential_malformed',
  ],
  ...Object.entries({
    crit: ['exp'],
    b64: false,
    jwk: { kty: 'EC' },
    jku: 'https://evil.test/keys',
    x5u: 'https://evil.test/cert',
    x5c: ['MIIB'],
    zip: 'DEF',
    cty: 'JWT',
    enc: 'A128GCM',
  }).map(([name, value]): [string, string, Reason, string] => [
    `${name} in the header`,
    withHeader({ alg: 'ES256', kid: 'k1', [name]: value }),
    'credential_invalid',
    `the header has ${name}`,
  ]),
  ...[[], ['b64', 'b64'], ['alg'], null].map((crit): [string, string, Reason, string] => [
    `crit ${JSON.stringify(crit)}`,
    withHeader({ alg: 'ES256', crit }),
    'credential_invalid',
    'the header has crit',
  ]),
  ['b64 true', withHeader({ alg: 'ES256', b64: true }), 'credential_invalid'],
  ...['logout+jwt', 'dpop+jwt', 'secevent+jwt', 'JWE', '', 'JWT ', 1, null, ['JWT']].map(
    (typ): [string, string, Reason, string] => [
      `typ ${JSON.stringify(typ)}`,
      withHeader({ alg: 'ES256', typ }),
      'credential_invalid',
      'typ says that it is made for another purpose',
    ],
  ),
  ...['', 7, null, ['k1'], { k: 1 }, 'k'.repeat(257)].map(
    (kid): [string, string, Reason, string] => [
      `kid ${JSON.stringify(kid).slice(0, 20)}`,
      withHeader({ alg: 'ES256', kid }),
      'credential_invalid',
      'kid is not a string of 1 to 256 characters',
    ],
  ),
  ['a kid of 10 KB', withHeader({ alg: 'ES256', kid: 'k'.repeat(6000) }), 'credential_malformed'],
  ...[1, 2, 4, 5, 6].map((count): [string, string, Reason] => [
    `${String(count)} parts`,
    Array.from({ length: count }, () => 'YQ').join('.'),
    'credential_malformed',
  ]),
  ['nothing but dots', '.'.repeat(8000), 'credential_malformed'],
  ['an empty header', `.${payload}.${signature}`, 'credential_malformed'],
  ['an empty payload', `${encode('{"alg":"ES256"}')}..${signature}`, 'credential_malformed'],
  ['an empty signature', good.slice(0, good.lastIndexOf('.') + 1), 'credential_malformed'],
  ['padding', `${good}==`, 'credential_malformed'],
  ['the other base64 alphabet', good.replace(signature, `+/${signature}`), 'credential_malformed'],
  ['a space', `${good} `, 'credential_malformed'],
  ['a newline', `${good}\n`, 'credential_malformed'],
  ['a NUL', `${good}\0`, 'credential_malformed'],
  ['a BOM', `\ufeff${good}`, 'credential_malformed'],
  ['a signature that is one character', good.replace(signature, 'A'), 'credential_malformed'],
  [
    'a signature with bits behind its end',
    `${good.slice(0, -1)}${good.endsWith('w') ? 'x' : 'B'}`,
    'credential_malformed',
    'the signature is missing or not canonical base64url',
  ],
  ['a header that is no JSON', withHeader('alg: ES256'), 'credential_malformed'],
  ['a header that is an array', withHeader('["ES256"]'), 'credential_malformed'],
  ['a header with a BOM', withHeader('\ufeff{"alg":"ES256"}'), 'credential_malformed'],
  [
    'a header over 2 KiB',
    withHeader({ alg: 'ES256', a: 'a'.repeat(2048) }),
    'credential_malformed',
    'the header is over 2 KiB',
  ],
  ...[
    ['a payload that is no object', '"x"'],
    ['a payload that is a list', '[{"iss":"x"}]'],
    ['a payload with iss twice', '{"iss":"x","iss":"y"}'],
    ['a payload with exp twice', '{"exp":1,"exp":2}'],
    ['a payload with sub twice, once escaped', '{"sub":"x","\\u0073ub":"y"}'],
    ['a payload with __proto__', '{"__proto__":{"iss":"x"}}'],
    ['a payload with a BOM', '\ufeff{"iss":"x"}'],
    ['a payload that is too deep', `{"a":${'['.repeat(2000)}${']'.repeat(2000)}}`],
    ['a nested credential as payload', good],
  ].map(([title = '', text = '']): [string, string, Reason, string] => [
    title,
    `${encode('{"alg":"ES256"}')}.${encode(text)}.${signature}`,
    'credential_malformed',
    'the payload is not a strict JSON object',
  ]),
  [
    'a payload in UTF-16',
    `${encode('{"alg":"ES256"}')}.${encode(Buffer.from('{"iss":"x"}', 'utf16le'))}.${signature}`,
    'credential_malformed',
  ],
  [
    'a compressed payload (a deflate bomb is not inflated)',
    `${encode('{"alg":"ES256"}')}.${encode(Buffer.from('789c4bcc4a1f05004d', 'hex'))}.${signature}`,
    'credential_malformed',
  ],
  [
    'an encrypted credential',
    `${encode('{"alg":"RSA-OAEP","enc":"A128GCM"}')}.YQ.YQ.YQ.YQ`,
    'credential_malformed',
    'an encrypted credential (JWE)',
  ],
  [
    'a password-encrypted credential of two thousand million rounds',
    `${encode('{"alg":"PBES2-HS256+A128KW","p2c":2147483648,"enc":"A128GCM"}')}.YQ.YQ.YQ.YQ`,
    'credential_malformed',
  ],
]

describe('refuses', () => {
  test.each(refusals)('%s', (_, credential, reason, detail) => {
    const answer = readCompactJws(credential)
    expect(answer).toMatchObject({ kind: 'denied', reason })
    if (detail !== undefined) expect(answer).toHaveProperty('detail', detail)
  })

  test('every other text that decodes to the same bytes', () => {
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 70 }), (bytes) => {
        const text = encode(bytes)
        const last = alphabet.indexOf(text.at(-1) ?? '')
        // One or two bytes at the end leave 4 or 2 bits of the last character unused.
        const unusedBits = { 1: 4, 2: 2, 0: 0 }[bytes.length % 3] ?? 0
        for (let noise = 1; noise < 2 ** unusedBits; noise++) {
          const other = text.slice(0, -1) + (alphabet[last + noise] ?? '')
          expect(Buffer.from(other, 'base64url')).toEqual(Buffer.from(bytes))
          expect(readCompactJws(good.replace(signature, other))).toMatchObject({
            reason: 'credential_malformed',
          })
        }
        expect(readCompactJws(good.replace(signature, text))).toMatchObject({ kind: 'unverified' })
      }),
    )
  })
})

test('never throws, whatever the three parts hold', () => {
  const json = fc.constantFrom('{}', '[]', '{"alg":1}', '{"iss":"x"}', '{"alg":"none"}')
  const part = fc.oneof(fc.string({ unit: 'binary', maxLength: 40 }), json)
  fc.assert(
    fc.property(fc.array(part, { minLength: 3, maxLength: 3 }), (parts) => {
      const answer = readCompactJws(parts.map((text) => encode(text)).join('.'))
      // None of these headers is an object with one of the eleven algorithms in it.
      expect(answer.kind).toBe('denied')
    }),
  )
})
