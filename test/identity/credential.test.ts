import { describe, expect, test } from 'vitest'
import { isDenial } from '../../src/denial.js'
import type { Reason } from '../../src/denial.js'
import { maxCredentialBytes, readCredential } from '../../src/identity/credential.js'

const jws = 'aGVhZGVy.cGF5bG9hZA.c2ln'

function read(lines: [string, string][], apiKeyHeader = false) {
  const headers = new Map<string, string[]>()
  for (const [name, value] of lines) headers.set(name, [...(headers.get(name) ?? []), value])
  return readCredential(headers, { apiKeyHeader })
}

describe('reads the credential', () => {
  test.each(['Bearer', 'bearer', 'BEARER', 'bEaReR'])('of the scheme %s', (scheme) => {
    expect(read([['authorization', `${scheme} ${jws}`]])).toBe(jws)
  })

  test('of x-api-key where the path reads it', () => {
    expect(read([['x-api-key', jws]], true)).toBe(jws)
  })

  test('of Authorization on a path that also reads x-api-key', () => {
    expect(read([['authorization', `Bearer ${jws}`]], true)).toBe(jws)
  })

  test('of Authorization, whatever x-api-key says, where the path does not read that', () => {
    const lines: [string, string][] = [
      ['authorization', `Bearer ${jws}`],
      ['x-api-key', 'anything'],
      ['x-api-key', 'else'],
    ]
    expect(read(lines)).toBe(jws)
  })

  test('of exactly the largest size', () => {
    const largest = 'a'.repeat(maxCredentialBytes)
    expect(read([['authorization', `Bearer ${largest}`]])).toBe(largest)
    expect(read([['x-api-key', largest]], true)).toBe(largest)
  })
})

interface Refusal {
  readonly title: string
  readonly lines: [string, string][]
  readonly apiKeyHeader?: boolean
  readonly reason: Reason
}

const tooLong = 'a'.repeat(maxCredentialBytes + 1)

const refusals: Refusal[] = [
  { title: 'no header', lines: [], reason: 'credential_missing' },
  {
    title: 'no header that the path reads',
    lines: [['x-api-key', jws]],
    reason: 'credential_missing',
  },
  {
    title: 'a credential in a cookie',
    lines: [['cookie', `access_token=${jws}`]],
    reason: 'credential_missing',
  },
  {
    title: 'a credential in x-forwarded-access-token',
    lines: [['x-forwarded-access-token', jws]],
    reason: 'credential_missing',
  },
  {
    title: 'a credential in proxy-authorization',
    lines: [['proxy-authorization', `Bearer ${jws}`]],
    reason: 'credential_missing',
  },
  {
    title: 'a credential in the query',
    lines: [[':path', `/v1/chat/completions?access_token=${jws}`]],
    reason: 'credential_missing',
  },
  {
    title: 'two Authorization headers',
    lines: [
      ['authorization', `Bearer ${jws}`],
      ['authorization', `Bearer ${jws}`],
    ],
    reason: 'credential_ambiguous',
  },
  {
    title: 'a second Authorization header that is empty',
    lines: [
      ['authorization', `Bearer ${jws}`],
      ['authorization', ''],
    ],
    reason: 'credential_ambiguous',
  },
  {
    title: 'two x-api-key headers',
    lines: [
      ['x-api-key', jws],
      ['x-api-key', jws],
    ],
    apiKeyHeader: true,
    reason: 'credential_ambiguous',
  },
  {
    title: 'both headers, even with the same credential',
    lines: [
      ['authorization', `Bearer ${jws}`],
      ['x-api-key', jws],
    ],
    apiKeyHeader: true,
    reason: 'credential_ambiguous',
  },
  {
    title: 'both headers, though one is of another scheme',
    lines: [
      ['authorization', 'Basic YTpi'],
      ['x-api-key', jws],
    ],
    apiKeyHeader: true,
    reason: 'credential_ambiguous',
  },
  ...[
    ['an empty header', ''],
    ['a scheme alone', 'Bearer'],
    ['a scheme and a space', 'Bearer '],
    ['two spaces', `Bearer  ${jws}`],
    ['a tab', `Bearer\t${jws}`],
    ['a no-break space', `Bearer\u00a0${jws}`],
    ['a space before', ` Bearer ${jws}`],
    ['a space behind', `Bearer ${jws} `],
    ['a newline behind', `Bearer ${jws}\n`],
    ['a NUL behind', `Bearer ${jws}\0`],
    ['a BOM before the credential', `Bearer \ufeff${jws}`],
    ['another scheme', 'Basic YTpi'],
    ['DPoP', `DPoP ${jws}`],
    ['a scheme that only begins with Bearer', `BearerX ${jws}`],
    ['no scheme', jws],
    ['a colon', `Bearer: ${jws}`],
    ['an equals sign', `Bearer=${jws}`],
    ['two credentials joined by a comma', `Bearer ${jws}, Bearer ${jws}`],
    ['two credentials joined by a comma alone', `Bearer ${jws},${jws}`],
    ['two credentials', `Bearer ${jws} ${jws}`],
    ['quotes', `Bearer "${jws}"`],
    ['a JSON serialisation', 'Bearer {"payload":"cGF5bG9hZA","signatures":[]}'],
    ['a letter that looks like one', `Bearer ${jws.replace('a', 'а')}`],
    ['percent encoding', `Bearer ${jws.replace('.', '%2E')}`],
  ].map(([title = '', value = '']): Refusal => ({
    title,
    lines: [['authorization', value]],
    reason: 'credential_malformed',
  })),
  ...[
    ['an empty x-api-key', ''],
    ['a scheme in x-api-key', `Bearer ${jws}`],
    ['a space in x-api-key', ` ${jws}`],
  ].map(([title = '', value = '']): Refusal => ({
    title,
    lines: [['x-api-key', value]],
    apiKeyHeader: true,
    reason: 'credential_malformed',
  })),
  {
    title: 'one byte too many',
    lines: [['authorization', `Bearer ${tooLong}`]],
    reason: 'credential_too_large',
  },
  {
    title: 'one byte too many in x-api-key',
    lines: [['x-api-key', tooLong]],
    apiKeyHeader: true,
    reason: 'credential_too_large',
  },
  {
    title: 'a size before a form: megabytes of spaces',
    lines: [['authorization', ' '.repeat(4 * 1024 * 1024)]],
    reason: 'credential_too_large',
  },
]

describe('refuses', () => {
  test.each(refusals)('$title', ({ lines, apiKeyHeader, reason }) => {
    const answer = read(lines, apiKeyHeader)
    expect(answer).toMatchObject({ kind: 'denied', reason })
  })

  test.each(refusals)('$title without repeating anything of it', ({ lines, apiKeyHeader }) => {
    const text = JSON.stringify(read(lines, apiKeyHeader))
    for (const part of jws.split('.')) expect(text).not.toContain(part)
    expect(text.length).toBeLessThan(400)
  })

  test('a missing credential, and says where to put one', () => {
    expect(messageOf(read([]))).toBe(
      'No credential was sent. Send one as "Authorization: Bearer <JWT or API key>".',
    )
    expect(messageOf(read([], true))).toBe(
      'No credential was sent. Send one as "Authorization: Bearer <JWT or API key>" or as "x-api-key: <JWT or API key>".',
    )
  })
})

function messageOf(answer: ReturnType<typeof readCredential>): string {
  if (typeof answer === 'string' || !isDenial(answer)) throw new Error('not a refusal')
  return answer.message
}
