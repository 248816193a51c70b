import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseDateTime } from '../../src/config/date-time.js'
import { loadConfig } from '../../src/config/load.js'
import { ConfigError } from '../../src/errors.js'
import { apiKeyHash, apiKeyOf } from '../../src/identity/api-keys.js'
import { runs } from '../runs.js'

const key = apiKeyOf(new Uint8Array(32).fill(7))
const sha256 = apiKeyHash(key)
const halves = [key.slice(0, 24), key.slice(24)]
const escaped = key.replace('_', '\\x5f')

/** A policy without issuers. */
function policyOf(apiKeys: string, tenants = '[acme]'): string {
  return `apiKeys:
${apiKeys}
models:
  - { name: llama, tokenizer: o200k_base, contextTokens: 8192, pool: gpu }
grants:
  - { tenants: ${tenants}, models: [llama] }
quotas:
  - { name: key-minute, unit: tokens, limit: 60000, window: 1m, by: [tenant, api_key] }
`
}

function faultsOf(text: string): readonly string[] {
  try {
    loadConfig('policy.yaml', text)
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.message.split('\n')
    throw error
  }
}

describe('apiKeys', () => {
  test('are enough: a policy needs no issuer beside them', () => {
    const entry = `  - { id: nightly, sha256: ${sha256}, tenant: acme, subject: batch }`
    const { policy } = loadConfig('policy.yaml', policyOf(entry))
    expect(policy.issuers).toEqual([])
    expect(policy.quotas[0]?.by).toEqual(['tenant', 'api_key'])
    expect(policy.apiKeys).toEqual([
      {
        id: 'nightly',
        sha256,
        tenant: 'acme',
        subject: 'batch',
        groups: [],
        client: undefined,
        expiresAtEpochMs: undefined,
      },
    ])
  })

  test('may say client, groups and an end', () => {
    const entry = `  - { id: nightly, sha256: ${sha256}, tenant: acme, subject: batch, client: cron, groups: [r], expires: 2027-01-31T01:00:00+01:00 }`
    expect(loadConfig('policy.yaml', policyOf(entry)).policy.apiKeys[0]).toMatchObject({
      client: 'cron',
      groups: ['r'],
      expiresAtEpochMs: Date.UTC(2027, 0, 31),
    })
  })

  test('or issuers have to be there', () => {
    const nobody = 'issuers is (missing); expected a list of 1 to 1000 issuers, or apiKeys'
    expect(faultsOf('models: []\n')[0]).toContain(nobody)
    expect(faultsOf('apiKeys: []\n')[0]).toContain(nobody)
    expect(faultsOf('issuers: []\napiKeys: []\n')[0]).toContain('policy.yaml:1: issuers is []')
  })

  test('are at most 1,000', () => {
    const entries = (count: number): string =>
      Array.from({ length: count }, (_, index) => {
        const id = `key-${String(index)}`
        return `  - { id: ${id}, sha256: "${apiKeyHash(id)}", tenant: acme, subject: batch }`
      }).join('\n')
    expect(faultsOf(policyOf(entries(1000)))).toEqual([])
    expect(faultsOf(policyOf(entries(1001)))).toEqual([
      'policy.yaml:1: apiKeys is a list; expected a list of at most 1000 entries',
    ])
  })

  test('have tenants that a grant may name, and no other may be named', () => {
    const entry = `  - { id: nightly, sha256: ${sha256}, tenant: acme, subject: batch }`
    expect(faultsOf(policyOf(entry, '[acme]'))).toEqual([])
    expect(faultsOf(policyOf(entry, '[umbra]'))).toEqual([
      'policy.yaml:6: grants[0].tenants[0] is umbra; expected a tenant that an issuer or API key of this file has: acme',
    ])
    // One that is wrong may be the one that is named.
    const wrongOne = `  - { id: weekly, sha256: ${'0f'.repeat(32)}, tenant: 7, subject: batch }`
    expect(faultsOf(policyOf(`${entry}\n${wrongOne}`, '[umbra]'))).toHaveLength(1)
    const issuer = (tenant: string): string =>
      `issuers: [{ issuer: "https://a.example", audiences: [a], algorithms: [ES256], tenant: ${tenant} }]\n`
    const both = policyOf(entry, '[acme, umbra]')
    expect(faultsOf(issuer('{ fixed: umbra }') + both)).toEqual([])
    // An issuer may share the tenant of a key: both are what the operator wrote.
    expect(faultsOf(issuer('{ fixed: acme }') + policyOf(entry))).toEqual([])
    expect(faultsOf(issuer('{ claim: org }') + policyOf(entry, '[anybody]'))).toEqual([])
  })

  test('with every kind of fault say all of them at once', () => {
    const entries = `  - { id: a b, sha256: ${sha256}, tenant: acme, subject: batch }
  - { id: nightly, sha256: ${sha256.toUpperCase()}, tenant: acme, subject: batch, expires: tomorrow }
  - { id: nightly, sha256: ${sha256}, subject: batch }
  - { id: last, sha256: 12, tenant: acme, subject: batch, owner: x }`
    expect(faultsOf(policyOf(entries))).toEqual([
      'policy.yaml:2: apiKeys[0].id is a b; expected a name of 1 to 64 letters, digits, dots, hyphens or underscores, which does not begin with tgk_',
      'policy.yaml:3: apiKeys[1].sha256 is (not shown); expected the SHA-256 of the whole key, 64 lower-case hex digits (tollgate key new prints it), in quotes if it looks like a number',
      'policy.yaml:3: apiKeys[1].expires is tomorrow; expected a date and time with its zone, as 2027-01-31T00:00:00Z',
      'policy.yaml:4: apiKeys[2].tenant is (missing); expected a tenant: text of 1 to 255 characters without control characters, in quotes if it looks like a number',
      'policy.yaml:4: apiKeys[2].id is nightly; expected an id that no earlier entry has',
      'policy.yaml:4: apiKeys[2].sha256 is (not shown); expected the hash of a key that no earlier entry has',
      'policy.yaml:5: apiKeys[3].sha256 is (not shown); expected the SHA-256 of the whole key, 64 lower-case hex digits (tollgate key new prints it), in quotes if it looks like a number',
      'policy.yaml:5: apiKeys[3].owner is unknown; expected one of id, sha256, tenant, subject, client, groups, expires',
    ])
  })

  test.each([
    ['in the place of its hash', `  - { id: a, sha256: ${key}, tenant: t, subject: s }`],
    ['without its prefix there', `  - { id: a, sha256: ${key.slice(4)}, tenant: t, subject: s }`],
    ['as the id', `  - { id: ${key}, sha256: ${sha256}, tenant: t, subject: s }`],
    ['as the entry', `  - ${key}`],
    [
      'as another value',
      `  - { id: a, sha256: ${sha256}, tenant: t, subject: s, expires: ${key} }`,
    ],
    ['as a key of the file', `  - { id: a, ${key}: 1, tenant: t, subject: s }`],
    ['as such a key twice', `  - { id: a, ${key}: 1, ${key}: 2 }`],
    ['beyond what is shown', `  - { id: a, expires: '${'x'.repeat(60)}${key}' }`],
    ['under an unknown key', `  - { id: a, key: ${key}, tenant: t, subject: s }`],
    ['folded over two lines', `  - { id: "${halves.join('\n      ')}", tenant: t, subject: s }`],
    ['folded without quotes', `  - { id: ${halves.join('\n      ')}, tenant: t, subject: s }`],
    ['as a folded key', `  - { id: a, "${halves.join('\n      ')}": 1, tenant: t, subject: s }`],
    ['with a line end in it', `  - { id: "${halves.join('\\\n    ')}", tenant: t, subject: s }`],
    ['with its prefix escaped', `  - { id: "${escaped}", tenant: t, subject: s }`],
    ['with its prefix on two lines', `  - { id: "tg\\\n    ${key.slice(2)}", tenant: t }`],
    ['with an escape behind', `  - { id: "${halves.join('\\x42')}", tenant: t, subject: s }`],
    ['as an escaped key', `  - { id: a, "${escaped}": 1, tenant: t, subject: s }`],
    ['as the name of an entry', `  - [{ name: "${escaped}" }]`],
  ])('that hold a key %s are refused without showing it', (_, entry) => {
    const said = faultsOf(policyOf(entry, '[t]')).join('\n')
    expect(said).not.toBe('')
    expect(said).not.toContain(key.slice(4, 10))
    expect(said).not.toContain(key.slice(-6))
    expect(said).not.toContain(sha256)
  })
})

describe('expires', () => {
  test('is the moment that it names, in any zone', () => {
    const moment = fc.date({
      min: new Date('0001-01-02T00:00:00Z'),
      max: new Date('9999-12-30T00:00:00Z'),
      noInvalidDate: true,
    })
    const zone = fc.integer({ min: -1439, max: 1439 })
    fc.assert(
      fc.property(moment, zone, (date, zoneMinutes) => {
        const local = new Date(date.getTime() + zoneMinutes * 60_000).toISOString().slice(0, -1)
        const [hours, minutes] = [
          Math.floor(Math.abs(zoneMinutes) / 60),
          Math.abs(zoneMinutes) % 60,
        ]
        const two = (part: number): string => String(part).padStart(2, '0')
        const sign = zoneMinutes < 0 ? '-' : '+'
        expect(parseDateTime(`${local}${sign}${two(hours)}:${two(minutes)}`)).toBe(date.getTime())
        expect(parseDateTime(date.toISOString())).toBe(date.getTime())
      }),
      { numRuns: runs(300) },
    )
  })

  test('may leave out the fraction, and give less of it', () => {
    expect(parseDateTime('2027-01-31T00:00:00Z')).toBe(Date.UTC(2027, 0, 31))
    expect(parseDateTime('2027-01-31T00:00:00.5Z')).toBe(Date.UTC(2027, 0, 31) + 500)
  })

  test.each([
    '2027-01-31',
    '2027-01-31T00:00:00',
    '2027-01-31 00:00:00Z',
    '2027-01-31T00:00Z',
    '2027-02-29T00:00:00Z',
    '2027-13-01T00:00:00Z',
    '2027-01-31T24:00:00Z',
    '2027-01-31T23:59:60Z',
    '2027-01-31T00:00:00+24:00',
    '2027-01-31T00:00:00+01:60',
    '2027-01-31T00:00:00+0100',
    '+02027-01-31T00:00:00Z',
    'Sun, 31 Jan 2027 00:00:00 GMT',
    '1801353600',
    '',
  ])('is nothing else, and no moment that does not exist: %s', (text) => {
    expect(parseDateTime(text)).toBeUndefined()
  })
})
