import { describe, expect, test } from 'vitest'
import { loadConfig } from '../../src/config/load.js'
import { ConfigError } from '../../src/errors.js'
import type { Policy } from '../../src/policy.js'

/** What a policy of one issuer, one model and one grant says of its quotas; JSON is YAML. */
function load(quotas: readonly object[], model: object = {}, more: object = {}): Policy {
  const text = JSON.stringify({
    issuers: [
      {
        issuer: 'https://idp.example.com',
        audiences: ['llm'],
        algorithms: ['ES256'],
        tenant: { claim: 'org' },
      },
    ],
    models: [
      { name: 'llama', tokenizer: 'o200k_base', contextTokens: 131072, pool: 'gpu', ...model },
    ],
    grants: [{ groups: ['research'], models: ['llama'] }],
    quotas: quotas.map((quota, index) => ({
      name: `q${String(index)}`,
      unit: 'tokens',
      limit: 1000,
      window: '1m',
      by: ['tenant', 'subject'],
      ...quota,
    })),
    ...more,
  })
  return loadConfig('policy.yaml', text).policy
}

/** The faults, without line and value. */
function faultsOf(...told: Parameters<typeof load>): readonly string[] {
  try {
    load(...told)
    return []
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return error.faults.map(({ key, expected }) => `${key} expected ${expected}`)
  }
}

describe('a grant is metered', () => {
  const unbound: unknown = expect.stringMatching(
    /^grants\[0\] expected unlimited: true, or a quota of unit/,
  )

  test('by input and output tokens together', () => {
    expect(faultsOf([{ unit: 'input_tokens' }, { unit: 'output_tokens' }])).toEqual([])
  })

  test('by neither of the two alone, and not where the other is a shadow or binds another model', () => {
    for (const unit of ['input_tokens', 'output_tokens']) {
      expect(faultsOf([{ unit }])).toEqual([unbound])
      expect(faultsOf([{ unit }, { unit: 'requests' }])).toEqual([unbound])
    }
    const input = { unit: 'input_tokens' }
    expect(faultsOf([input, { unit: 'output_tokens', shadow: true }])).toEqual([unbound])
    const other = { name: 'other', tokenizer: 'o200k_base', contextTokens: 2048, pool: 'gpu' }
    const llama = { name: 'llama', tokenizer: 'o200k_base', contextTokens: 131072, pool: 'gpu' }
    const elsewhere = { unit: 'output_tokens', models: ['other'] }
    expect(faultsOf([input, elsewhere], {}, { models: [llama, other] })).toEqual([unbound])
  })
})

describe('prices', () => {
  const prices = { input: 0.59, output: 2.4 }
  const cost = { unit: 'cost', limit: 25.5 }

  test('are read exactly, and so is a limit in the currency', () => {
    const { models, quotas } = load([cost], { prices: { ...prices, cachedInput: 0.018751 } })
    expect(models[0]?.prices).toEqual({
      inputPicos: 590_000,
      cachedInputPicos: 18_751,
      cacheWritePicos: 590_000,
      outputPicos: 2_400_000,
    })
    expect(quotas[0]).toMatchObject({ unit: 'cost', limit: 25_500_000 })
    const written = load([cost], { prices: { ...prices, cacheWrite: 0.7375 } }).models[0]
    expect(written?.prices).toMatchObject({ cachedInputPicos: 590_000, cacheWritePicos: 737_500 })
    expect(load([{}]).models[0]?.prices).toBeUndefined()
  })

  test('have to be there for every model that a quota of cost binds', () => {
    const message =
      'quotas[0].unit expected prices for every model that it binds: llama has none, or another unit'
    expect(faultsOf([cost])).toEqual([message])
    expect(faultsOf([{ ...cost, models: ['ll*'] }])).toEqual([message])
    const other = { tokenizer: 'o200k_base', contextTokens: 2048, pool: 'gpu', name: 'other' }
    const llama = { ...other, name: 'llama', prices }
    const models = { models: [llama, other] }
    expect(faultsOf([{ ...cost, models: ['llama'] }], {}, models)).toEqual([])
    expect(faultsOf([cost], {}, models)).toEqual([message.replace('llama has', 'other has')])
    // What is wrong there may have been meant to be right.
    expect(faultsOf([cost], { prices: 'free' })).toEqual(['models[0].prices expected a mapping'])
  })

  test('are written as numbers with at most six decimals', () => {
    for (const input of [-1, '0.59', 0.0000001, 1e9]) {
      expect(faultsOf([cost], { prices: { ...prices, input } })).toEqual([
        'models[0].prices.input expected a price for a million tokens, 0 to 999999999.999999 with at most 6 decimals, without quotes',
      ])
    }
    expect(faultsOf([cost], { prices: { input: 1 } })).toHaveLength(1)
  })

  test('meter a grant unless input or output is free', () => {
    expect(faultsOf([cost], { prices })).toEqual([])
    const unbound: unknown = expect.stringMatching(/^grants\[0\] expected unlimited: true/)
    expect(faultsOf([cost], { prices: { ...prices, output: 0 } })).toEqual([unbound])
    const cached = { input: 0, cachedInput: 1, output: 1 }
    expect(faultsOf([cost], { prices: cached })).toEqual([unbound])
    expect(faultsOf([cost, { unit: 'input_tokens' }], { prices: cached })).toEqual([])
  })

  test('let a limit have decimals, which no other unit has', () => {
    expect(faultsOf([{ limit: 25.5 }])).toEqual([
      'quotas[0].limit expected a whole number, since the unit is tokens',
    ])
    expect(faultsOf([{ ...cost, limit: 1e9 }], { prices })).toEqual([
      'quotas[0].limit expected at most 999999999.999999, with at most 6 decimals, of unit cost',
    ])
    for (const limit of [0, -1, '25.50', 0.0000001]) {
      expect(faultsOf([{ ...cost, limit }], { prices })).toEqual([
        'quotas[0].limit expected a whole number of units from 1 to 9007199254740991, or of unit cost an amount as 25.50',
      ])
    }
  })
})

describe('a window', () => {
  test.each([
    ['week', { kind: 'calendar', period: 'week', timeZone: 'UTC' }],
    ['year', { kind: 'calendar', period: 'year', timeZone: 'UTC' }],
    ['fixed second', { kind: 'fixed', lengthMs: 1000 }],
    ['fixed minute', { kind: 'fixed', lengthMs: 60_000 }],
    ['fixed hour', { kind: 'fixed', lengthMs: 3_600_000 }],
    ['fixed day', { kind: 'fixed', lengthMs: 86_400_000 }],
    ['fixed week', { kind: 'fixed', lengthMs: 7 * 86_400_000 }],
    ['fixed month', { kind: 'fixed', lengthMs: 30 * 86_400_000 }],
    ['fixed year', { kind: 'fixed', lengthMs: 365 * 86_400_000 }],
  ])('may be %s', (window, read) => {
    expect(load([{ window }]).quotas[0]?.window).toEqual(read)
  })

  test.each(['fixed', 'fixed 1m', 'fixed decade', 'fixed toString', 'Fixed minute', 'second'])(
    'is not %s',
    (window) => {
      expect(faultsOf([{ window }])).toEqual([
        expect.stringMatching(/^quotas\[0\]\.window expected a duration from 1s to 31d/),
      ])
    },
  )

  test('has a time zone only where it is of a calendar', () => {
    expect(faultsOf([{ window: 'week', timezone: 'Europe/Berlin' }])).toEqual([])
    expect(faultsOf([{ window: 'fixed week', timezone: 'Europe/Berlin' }])).toEqual([
      'quotas[0].timezone expected to be left out: only minute, hour, day, week, month and year have one',
    ])
  })
})

describe('a dimension', () => {
  test('may be a pool, a route, a SPIFFE id or a claim, which every issuer then reads', () => {
    const by = [
      'tenant',
      'pool',
      'route',
      'spiffe',
      'claim:department',
      'claim:cost.centre',
    ] as const
    const policy = load([{ by }, { by: ['claim:department', 'claim:age'] }])
    expect(policy.quotas[0]?.by).toEqual(by)
    expect(policy.issuers[0]?.claims).toEqual([
      { name: 'age', as: 'value' },
      { name: 'cost.centre', as: 'value' },
      { name: 'department', as: 'value' },
    ])
    expect(load([{}]).issuers[0]?.claims).toEqual([])
  })

  test.each(['claim', 'claim:', 'claim: x', 'claim:a..b', 'Claim:a', 'apiKey'])(
    'is not %j',
    (dimension) => {
      expect(faultsOf([{ by: [dimension] }])).toEqual([
        'quotas[0].by[0] expected one of tenant, subject, client, model, group, pool, route, spiffe, api_key, or claim:NAME as claim:department',
      ])
    },
  )

  test('stands once, a claim too', () => {
    expect(faultsOf([{ by: ['claim:a', 'claim:b', 'claim:a'] }])).toEqual([
      'quotas[0].by[2] expected a dimension that no earlier entry has',
    ])
  })
})

describe('other limits', () => {
  const gold = { tenants: ['acme'], limit: 5000 }

  test('are read in the unit of the quota, and so is the claim that carries one', () => {
    const prices = { input: 1, output: 2 }
    const limitClaim = { claim: 'budget', atMost: 100 }
    const { quotas, issuers } = load(
      [
        { overrides: [gold, { groups: ['research'], limit: 7 }], limitClaim },
        { unit: 'cost', limit: 10, overrides: [{ ...gold, limit: 25.5 }], limitClaim },
      ],
      { prices },
    )
    expect(quotas[0]).toMatchObject({
      limit: 1000,
      overrides: [
        { tenants: ['acme'], groups: [], limit: 5000 },
        { tenants: [], groups: ['research'], limit: 7 },
      ],
      limitClaim: { claim: 'budget', atMost: 100 },
    })
    expect(quotas[1]).toMatchObject({
      overrides: [{ limit: 25_500_000 }],
      limitClaim: { atMost: 100_000_000 },
    })
    expect(issuers[0]?.claims).toEqual([
      { name: 'budget', as: 'count' },
      { name: 'budget', as: 'money' },
    ])
  })

  test('are of somebody', () => {
    expect(faultsOf([{ overrides: [{ limit: 5 }] }])).toEqual([
      'quotas[0].overrides[0] expected tenants, groups or both: whom it is for',
    ])
  })

  test('are limits', () => {
    expect(faultsOf([{ overrides: [{ ...gold, limit: 2.5 }] }])).toEqual([
      'quotas[0].overrides[0].limit expected a whole number, since the unit is tokens',
    ])
    expect(faultsOf([{ limitClaim: { claim: 'budget', atMost: 2.5 } }])).toEqual([
      'quotas[0].limitClaim.atMost expected a whole number, since the unit is tokens',
    ])
    expect(faultsOf([{ overrides: [{ ...gold, limit: 0 }] }])).toHaveLength(1)
    expect(faultsOf([{ limitClaim: { claim: 'budget' } }])).toHaveLength(1)
  })

  test('are the same for all who share a partition', () => {
    const shared = 'to be left out, or tenant in by: all in a partition have one limit'
    expect(faultsOf([{ by: ['subject'], overrides: [gold] }])).toEqual([
      `quotas[0].overrides[0].tenants expected ${shared}`,
    ])
    const research = { groups: ['research'], limit: 5 }
    for (const by of [['tenant'], ['tenant', 'api_key']]) {
      expect(faultsOf([{ by, overrides: [research] }])).toEqual([
        'quotas[0].overrides[0].groups expected to be left out, or group or subject in by: all in a partition have one limit',
      ])
    }
    expect(faultsOf([{ by: ['tenant', 'subject'], overrides: [research] }])).toEqual([])
    const byGroup = { by: ['tenant', 'group'], groups: ['sales', 'research'] }
    expect(faultsOf([{ ...byGroup, overrides: [research] }])).toEqual([])
    expect(faultsOf([{ ...byGroup, overrides: [{ groups: ['ops'], limit: 5 }] }])).toEqual([
      'quotas[0].overrides[0].groups[0] expected a group that groups of this quota lists, since by holds group',
    ])
    // What is wrong there may have been meant to be right.
    expect(faultsOf([{ by: ['tennant'], overrides: [gold, research] }])).toHaveLength(1)
  })

  test('are carried by no claim where one caller would set them for others', () => {
    const limitClaim = { claim: 'budget', atMost: 100 }
    // Of api_key too: those without a key share one partition, and a key has no claims.
    for (const by of [[], ['model'], ['claim:budget', 'pool'], ['api_key']]) {
      expect(faultsOf([{ by, limitClaim }])).toEqual([
        'quotas[0].limitClaim expected to be left out, or tenant, subject or client in by: one caller would set the limit of others',
      ])
    }
    for (const by of [['tenant'], ['subject', 'model'], ['client']]) {
      expect(faultsOf([{ by, limitClaim }])).toEqual([])
    }
  })

  test('are of no more names than one look can take', () => {
    const many = Array.from({ length: 10_000 }, (_, index) => `t${String(index)}`)
    const two = [
      { tenants: many, limit: 5 },
      { groups: many, limit: 6 },
    ]
    expect(faultsOf([{ overrides: two }])).toEqual([])
    expect(faultsOf([{ overrides: two }, { overrides: [gold] }])).toEqual([
      'quotas expected at most 20000 tenants and groups in all overrides together, not 20001; a claim can carry the limit (limitClaim)',
    ])
  })

  test('are of tenants that an issuer has', () => {
    const issuers = [
      {
        issuer: 'https://idp.example.com',
        audiences: ['llm'],
        algorithms: ['ES256'],
        tenant: { fixed: 'umbra' },
      },
    ]
    expect(faultsOf([{ overrides: [gold] }], {}, { issuers })).toEqual([
      'quotas[0].overrides[0].tenants[0] expected a tenant that an issuer or API key of this file has: umbra',
    ])
  })
})
