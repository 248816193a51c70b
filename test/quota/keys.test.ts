import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { partitionKey } from '../../src/quota/keys.js'
import type { PartitionedCaller, PartitionValue } from '../../src/quota/keys.js'
import type { PartitionDimension, Quota } from '../../src/quota/quota.js'
import { calendar, quotaOf } from './quotas.js'
import { runs } from '../runs.js'

const by: readonly PartitionDimension[] = [
  'tenant',
  'subject',
  'client',
  'model',
  'group',
  'pool',
  'route',
  'spiffe',
  'api_key',
  'claim:department',
  'claim:level',
]
const quota = quotaOf({ by, groups: ['research', 'sales', 'none'] })
const ada: PartitionedCaller = {
  tenant: 'acme',
  subject: 'ada',
  client: 'console',
  apiKey: 'nightly',
  groups: ['sales'],
  model: 'llama',
  pool: 'gpu-a',
  route: '/v1/messages',
  spiffe: 'spiffe://acme.example/ci',
  claims: new Map<string, PartitionValue>([
    ['department', 'physics'],
    ['level', 3],
  ]),
}
const keyOf = (differences: Partial<PartitionedCaller>, of: Quota = quota): string =>
  partitionKey(of, { ...ada, ...differences })

describe('a partition key', () => {
  test('is the same for the same caller, and holds nothing readable of it', () => {
    expect(keyOf({})).toBe(keyOf({}))
    expect(keyOf({})).toMatch(/^\{[\w-]{22}\}[\w-]{22}$/)
  })

  test.each([
    ['tenant', { tenant: 'acme2' }],
    ['subject', { subject: 'Ada' }],
    ['client', { client: 'cli' }],
    ['absent client', { client: undefined }],
    ['model', { model: 'llama2' }],
    ['group', { groups: ['research'] }],
    ['pool', { pool: 'gpu-b' }],
    ['route', { route: '/v1/completions' }],
    ['SPIFFE id', { spiffe: 'spiffe://acme.example/CI' }],
    ['absent SPIFFE id', { spiffe: undefined }],
    ['API key', { apiKey: 'weekly' }],
    ['absent API key', { apiKey: undefined }],
    ['claim', { claims: new Map(ada.claims).set('department', 'Physics') }],
    ['absent claim', { claims: new Map([['department', 'physics']]) }],
    [
      'claims that change places',
      {
        claims: new Map<string, PartitionValue>([
          ['department', 3],
          ['level', 'physics'],
        ]),
      },
    ],
  ])('differs by %s', (_, differences) => {
    expect(keyOf(differences)).not.toBe(keyOf({}))
  })

  test('ignores what the quota is not by', () => {
    const tenantOnly = quotaOf({ by: ['tenant'] })
    const other = { subject: 'bob', client: undefined, groups: [], model: 'other' }
    expect(keyOf(other, tenantOnly)).toBe(keyOf({}, tenantOnly))
  })

  test('tells an absent client from one named like its spelling', () => {
    const keys = [undefined, '', '-', 'none', 'undefined'].map((client) => keyOf({ client }))
    expect(new Set(keys).size).toBe(keys.length)
  })

  test('tells apart a text, a number, a truth value and none at all that are spelled alike', () => {
    const of = quotaOf({ by: ['claim:level'] })
    const values = [
      3,
      '3',
      '1:3',
      'n1:3',
      30,
      0.3,
      -3,
      true,
      'true',
      'yes',
      '3:yes',
      false,
      'no',
      '',
      '-',
    ]
    const keys = [
      ...values.map((value) => keyOf({ claims: new Map([['level', value]]) }, of)),
      keyOf({ claims: new Map() }, of),
    ]
    expect(new Set(keys).size).toBe(keys.length)
  })

  test('tells claims of other names apart, and does not mind the order of the dimensions', () => {
    const claims = new Map([
      ['a', 'x'],
      ['b', 'y'],
    ])
    const keysOf = (...dimensions: readonly PartitionDimension[]): string =>
      keyOf({ claims }, quotaOf({ by: dimensions }))
    expect(keysOf('claim:a', 'claim:b')).toBe(keysOf('claim:b', 'claim:a'))
    const swapped = new Map([
      ['a', 'y'],
      ['b', 'x'],
    ])
    expect(keyOf({ claims: swapped }, quotaOf({ by: ['claim:a', 'claim:b'] }))).not.toBe(
      keysOf('claim:a', 'claim:b'),
    )
    const one = keyOf({ claims: new Map([['a', 'x']]) }, quotaOf({ by: ['claim:a'] }))
    const other = keyOf({ claims: new Map([['b', 'x']]) }, quotaOf({ by: ['claim:b'] }))
    expect(one).not.toBe(other)
  })

  test('is spelled as this schema of keys began, or what was spent would be found nowhere', () => {
    const of = quotaOf({ by: ['tenant', 'subject', 'client', 'model', 'group'], groups: ['sales'] })
    expect(keyOf({}, of)).toBe('{bS7JFDKjkcLGQDlMYLWbtw}AidvdR5W-eP3eArYsmzLkg')
    const by = ['pool', 'route', 'spiffe', 'api_key', 'claim:centre'] as const
    const others = { spiffe: 'spiffe://a/b', apiKey: 'nightly', claims: new Map([['centre', '7']]) }
    expect(keyOf(others, quotaOf({ by }))).toBe('{}hobTbyXhawixk2ptBGvoJw')
  })

  test('is never shared by an API key and another dimension of the same text, nor by one that is absent', () => {
    const named = {
      subject: 'x',
      client: 'x',
      spiffe: 'x',
      apiKey: 'x',
      claims: new Map([['x', 'x']]),
    }
    const dimensions = ['subject', 'client', 'spiffe', 'api_key', 'claim:x'] as const
    const keys = dimensions.map((dimension) => keyOf(named, quotaOf({ by: ['tenant', dimension] })))
    expect(new Set(keys).size).toBe(keys.length)
    const byKey = quotaOf({ by: ['tenant', 'api_key'] })
    const ids = [undefined, '', '-', 'none', 'a-'].map((apiKey) => keyOf({ apiKey }, byKey))
    expect(new Set(ids).size).toBe(ids.length)
  })

  test('counts a caller in the first group of the quota that it is in', () => {
    expect(keyOf({ groups: ['sales', 'research'] })).toBe(keyOf({ groups: ['research'] }))
    expect(keyOf({ groups: ['other', 'sales'] })).toBe(keyOf({ groups: ['sales'] }))
  })

  test('counts callers in none of the groups together, apart from a group named "none"', () => {
    expect(keyOf({ groups: [] })).toBe(keyOf({ groups: ['other'] }))
    expect(keyOf({ groups: [] })).not.toBe(keyOf({ groups: ['none'] }))
  })

  test('differs by name, unit, kind of window and dimensions of the quota', () => {
    const quotas = [
      quota,
      quotaOf({ by, name: 'other' }),
      quotaOf({ by, unit: 'requests' }),
      quotaOf({ by, window: calendar('day') }),
      quotaOf({ by, window: { kind: 'open' } }),
      quotaOf({ by: ['tenant'] }),
      quotaOf({ by: ['tenant', 'subject'] }),
      quotaOf({ by: [] }),
    ]
    expect(new Set(quotas.map((each) => keyOf({}, each))).size).toBe(quotas.length)
  })

  test('stays the same when limit, length, models, shadow or the order of the dimensions change', () => {
    const changed = quotaOf({
      by: [...by].reverse(),
      groups: quota.groups,
      limit: 7,
      window: { kind: 'sliding', lengthMs: 5 },
      models: ['llama*'],
      shadow: true,
    })
    expect(keyOf({}, changed)).toBe(keyOf({}))
  })

  test('carries the tenant alone in the braces', () => {
    const tag = (key: string): string => key.slice(0, 24)
    expect(tag(keyOf({ subject: 'bob' }))).toBe(tag(keyOf({})))
    expect(tag(keyOf({}, quotaOf({ by: ['tenant'] })))).toBe(tag(keyOf({})))
    expect(tag(keyOf({ tenant: 'other' }))).not.toBe(tag(keyOf({})))
    expect(keyOf({}, quotaOf({ by: ['subject'] }))).toMatch(/^\{\}[\w-]{22}$/)
  })

  test('tells parts from others that join to the same text', () => {
    const of = quotaOf({ by: ['tenant', 'subject'] })
    for (const [one, two] of [
      [
        { tenant: 'a', subject: 'bc' },
        { tenant: 'ab', subject: 'c' },
      ],
      [
        { tenant: 'a', subject: ':sb' },
        { tenant: 'a:s', subject: 'b' },
      ],
      [
        { tenant: 'a', subject: 's1:b' },
        { tenant: 'as1:b', subject: '' },
      ],
    ] as const) {
      expect(keyOf(one, of)).not.toBe(keyOf(two, of))
    }
  })

  test('is injective over 120,000 hostile callers', () => {
    // Parts made of what a spelling could be confused by: lengths, tags, separators, lone surrogates.
    const atoms = [
      '',
      'a',
      '1',
      ':',
      '1:',
      '1:a',
      't',
      's1:a',
      ':s',
      ':c',
      'c-',
      '-',
      '\ud800',
      '\ud801',
      'e\u0301',
      '\u00e9',
    ]
    const part = (seed: number): string =>
      (atoms[seed % 16] ?? '') + (atoms[Math.floor(seed / 16) % 16] ?? '')
    const of = quotaOf({ by: ['tenant', 'subject', 'client'] })
    const seen = new Map<string, string>()
    // xorshift: the same callers in every run.
    let random = 2463534242
    const next = (): number => {
      random ^= random << 13
      random ^= random >>> 17
      random ^= random << 5
      return random >>> 0
    }
    let shared = 0
    for (let index = 0; index < 120_000; index += 1) {
      const [tenant, subject] = [part(next()), part(next())]
      const client = next() % 5 === 0 ? undefined : part(next())
      const identity = JSON.stringify([tenant, subject, client ?? null])
      const key = partitionKey(of, { ...ada, tenant, subject, client })
      if ((seen.get(key) ?? identity) !== identity) shared += 1
      seen.set(key, identity)
    }
    expect(shared).toBe(0)
    expect(seen.size).toBeGreaterThan(100_000)
    // And one caller never has two keys.
    expect(new Set(seen.values()).size).toBe(seen.size)
  })

  test('is injective whatever the parts are', () => {
    const caller = fc.record({
      tenant: fc.string({ unit: 'binary' }),
      subject: fc.string({ unit: 'binary' }),
      client: fc.option(fc.string({ unit: 'binary' }), { nil: undefined }),
      apiKey: fc.option(fc.string({ unit: 'binary' }), { nil: undefined }),
    })
    const of = quotaOf({ by: ['tenant', 'subject', 'client', 'api_key'] })
    fc.assert(
      fc.property(caller, caller, (a, b) => {
        const named = ['tenant', 'subject', 'client', 'apiKey'] as const
        const equal = named.every((name) => a[name] === b[name])
        expect(keyOf(a, of) === keyOf(b, of)).toBe(equal)
      }),
      { numRuns: runs(2000) },
    )
  })
})
