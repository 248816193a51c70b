import { describe, expect, test } from 'vitest'
import { readRateLimitFiles } from '../../../src/config/rate-limits/files.js'
import { reservedDomain } from '../../../src/config/rate-limits/file.js'
import { reportDomain } from '../../../src/envoy/report.js'
import { formatFault } from '../../../src/errors.js'
import type { RateLimitConfig } from '../../../src/ratelimit/tree.js'
import { asked, lookUp } from '../../ratelimit/trees.js'

/** Files called `a.yaml`, `b.yaml` and so on. */
function read(texts: readonly string[], mergeDomains = false) {
  const files = texts.map((text, index) => ({ file: `${'abcdef'[index] ?? ''}.yaml`, text }))
  return readRateLimitFiles(files, { mergeDomains })
}

const faultsOf = (...texts: readonly string[]): readonly string[] =>
  read(texts).faults.map(formatFault)

function configOf(...texts: readonly string[]): RateLimitConfig {
  const { config, faults } = read(texts)
  expect(faults).toEqual([])
  if (config === undefined) throw new Error('not read')
  return config
}

/** The one rule of a file that limits the key `k`, with these lines in its `rate_limit` and in its descriptor. */
const ruleWith = (inside: string, beside = '') =>
  lookUp(
    configOf(`
domain: d
descriptors:
  - key: k
    rate_limit: { ${inside} }
    ${beside}
`),
    'd',
    asked('k=v'),
  )?.rule

const keyWith = (rule: string): string => `domain: d\ndescriptors:\n- key: k\n  ${rule}\n`

const descriptorKeys =
  'key, value, rate_limit, descriptors, shadow_mode, quota_mode, detailed_metric, value_to_metric, share_threshold, metadata'

describe('a rate limit file', () => {
  test('may hold every key that envoyproxy/ratelimit knows', () => {
    const config = configOf(`
domain: d
descriptors:
  - key: path
    value: /api/*
    share_threshold: true
    value_to_metric: true
    descriptors:
      - key: user
        detailed_metric: true
        shadow_mode: true
        quota_mode: true
        rate_limit:
          name: users
          unit: WEEK
          requests_per_unit: 7
          replaces:
            - name: base
        metadata: { tier: { name: one, nice: yes, count: -0x10, share: 1e-1, none: ~, list: [1, "1"] } }
  - key: vip
    rate_limit: { unlimited: true }
  - key: free
`)
    expect(lookUp(config, 'd', asked('path=/api/x', 'user=u'))).toEqual({
      rule: {
        name: 'users',
        limit: { requestsPerUnit: 7, unit: 'week' },
        replaces: ['base'],
        shadowMode: true,
        quotaMode: true,
        metadata: {
          tier: { name: 'one', nice: true, count: -16, share: 0.1, none: null, list: [1, '1'] },
        },
      },
      counted: asked('path=/api/*', 'user=u').entries,
      metricKey: 'd.path_/api/*.user_u',
    })
    expect(lookUp(config, 'd', asked('vip=x'))?.rule.limit).toBeUndefined()
    expect(lookUp(config, 'd', asked('vip=x'))).toBeDefined()
    expect(lookUp(config, 'd', asked('free=x'))).toBeUndefined()
  })

  test.each(['second', 'minute', 'hour', 'day', 'week', 'month', 'year', 'MINUTE', 'Day'])(
    'S22: may limit per %s, in small or capital letters',
    (unit) => {
      expect(ruleWith(`unit: ${unit}, requests_per_unit: 1`)?.limit?.unit).toBe(unit.toLowerCase())
    },
  )

  test.each([
    ['0', 0],
    ['4294967295', 4_294_967_295],
    ['1_000', 1000],
    ['010', 8],
    ['0x10', 16],
    ['0b11', 3],
    ['+5', 5],
    ['-0', 0],
    ['', 0],
  ])('may write a count as %s', (written, count) => {
    expect(ruleWith(`unit: day, requests_per_unit: ${written}`)?.limit?.requestsPerUnit).toBe(count)
  })

  test.each([
    ['yes', true],
    ['ON', true],
    ['True', true],
    ['y', true],
    ['no', false],
    ['', false],
    ['~', false],
  ])('may write a flag as %s', (written, flag) => {
    expect(ruleWith('unit: day', `shadow_mode: ${written}`)?.shadowMode).toBe(flag)
  })

  test('may leave out what it has nothing to say of', () => {
    expect(configOf('domain: d').domains.get('d')?.nodes.size).toBe(0)
    expect(configOf('domain: d\ndescriptors:\n').domains.get('d')?.nodes.size).toBe(0)
    expect(lookUp(configOf(keyWith('rate_limit:')), 'd', asked('k=v'))).toBeUndefined()
  })

  test('takes text as it is written, with or without quotes', () => {
    const config = configOf(`
domain: 7
descriptors:
  - { key: yes, value: 0x10, rate_limit: { unit: day, name: 1 } }
  - { key: k, value: "1.5", rate_limit: { unit: day } }
  - { key: k, value: 2020-01-01, rate_limit: { unit: day } }
`)
    expect(lookUp(config, '7', asked('yes=0x10'))?.rule.name).toBe('1')
    expect(lookUp(config, '7', asked('k=1.5'))).toBeDefined()
    expect(lookUp(config, '7', asked('k=2020-01-01'))).toBeDefined()
  })

  test.each([
    ['!!str 1.5', '1.5'],
    ['!!str', ''],
    ['! 1.5', '1.5'],
    ["!!int '5'", '5'],
    ['!!binary aGVsbG8=', 'hello'],
    ['!!binary "aGVs\\nbG8="', 'hello'],
    ['!!timestamp 2001-01-01', '2001-01-01'],
    ['!!timestamp "2004-2-29 1:2:3.5"', '2004-2-29 1:2:3.5'],
    ['!!timestamp "0000-02-29T23:59:59+24:60"', '0000-02-29T23:59:59+24:60'],
    ['!!bool yes', 'yes'],
    ['!!null ""', ''],
    ['!!int 9007199254740993', '9007199254740993'],
  ])('may write text with a tag, as %s', (written, text) => {
    const config = configOf(keyWith(`value: ${written}`))
    expect([...(config.domains.get('d')?.nodes.keys() ?? [])]).toEqual([
      text === '' ? 'k' : `k_${text}`,
    ])
  })

  test.each(['9223372036854775807', '-9223372036854775808', '+0x7fffffffffffffff', '0b1_0'])(
    'may write text as the whole number %s',
    (written) => {
      const config = configOf(keyWith(`value: ${written}`))
      expect([...(config.domains.get('d')?.nodes.keys() ?? [])]).toEqual([`k_${written}`])
    },
  )

  test('may write text as what is no number any more', () => {
    for (const written of ['0x10000000000000000', '+0x8000000000000000', '-0x8000000000000001']) {
      expect(faultsOf(keyWith(`value: ${written}`))).toEqual([])
    }
  })

  test('may have large numbers in its metadata', () => {
    const { metadata } =
      ruleWith('unit: day', 'metadata: { a: 9007199254740993, b: 0x20000000000000 }') ?? {}
    expect(metadata).toEqual({ a: 2 ** 53, b: 2 ** 53 })
  })

  test('may write a count and a flag with a tag', () => {
    for (const written of ["!!int '5'", '!!int 5', "!!int '0x5'"]) {
      expect(ruleWith(`unit: day, requests_per_unit: ${written}`)?.limit?.requestsPerUnit).toBe(5)
    }
    expect(ruleWith('unit: day, requests_per_unit: !!null ~')?.limit?.requestsPerUnit).toBe(0)
    expect(ruleWith('unit: day', 'shadow_mode: !!bool yes')?.shadowMode).toBe(true)
    expect(ruleWith('unit: day', "shadow_mode: !!bool 'on'")?.shadowMode).toBe(true)
    expect(
      ruleWith('unit: day', 'metadata: { a: !!float 5, b: !!str 5, c: ! yes, d: !!int "5" }')
        ?.metadata,
    ).toEqual({ a: 5, b: '5', c: 'yes', d: 5 })
  })

  test.each([
    'value: !!float 5',
    'value: !!float 1.5',
    'value: !!int yes',
    'value: !!bool maybe',
    'value: !!null x',
    'value: !!binary aGVsbG8',
    'value: !!binary /w==',
    'value: !!binary YR==',
    'value: !!int 9223372036854775808',
    'value: !!timestamp x',
    'value: !!timestamp 2001-02-29',
    'value: !!timestamp 2001-13-01',
    'value: !!timestamp 2001-00-01',
    'value: !!timestamp 2001-01-00',
    'value: !!timestamp "2001-01-01 24:00:00"',
    'value: !!timestamp "2001-01-01T00:00:00"',
    'value: !!timestamp "2001-01-01 00:00:00Z"',
    'value: !!set { v }',
    'rate_limit: { unit: day, requests_per_unit: !!str 5 }',
    'rate_limit: { unit: day, requests_per_unit: !!float 5 }',
    'rate_limit: { unit: day, requests_per_unit: !!int 5.0 }',
    'shadow_mode: !!str yes',
    'shadow_mode: !!bool 1',
    'metadata: { !!int 5: x }',
  ])('may not have a tag that does not fit, as %s', (line) => {
    expect(faultsOf(keyWith(line))).toHaveLength(1)
  })

  test.each(['%YAML 1.1\n---\n', ''])('means the same under %j', (head) => {
    const config = configOf(`${head}domain: d
descriptors:
  - key: yes
    shadow_mode: on
    rate_limit: &limit { unit: day, requests_per_unit: 010 }
  - key: !!str on
    rate_limit: { <<: *limit, unit: !!str hour }
  - { key: k, value: !!timestamp 2001-01-01, rate_limit: *limit }
`)
    const limit = (key: string) => lookUp(config, 'd', asked(`${key}=x`))?.rule
    expect(limit('yes')).toMatchObject({ limit: { requestsPerUnit: 8 }, shadowMode: true })
    expect(limit('on')?.limit).toEqual({ requestsPerUnit: 8, unit: 'hour' })
    expect(lookUp(config, 'd', asked('k=2001-01-01'))).toBeDefined()
  })

  test('may write a limit once, and name or merge it where it holds too', () => {
    const config = configOf(`
domain: d
descriptors:
  - key: a
    rate_limit: &limit { unit: day, requests_per_unit: 3 }
  - key: b
    rate_limit: *limit
  - key: c
    rate_limit:
      <<: *limit
      unit: hour
  - key: e
    <<: [{ shadow_mode: true }, { shadow_mode: false, rate_limit: *limit }]
`)
    const limit = (key: string) => lookUp(config, 'd', asked(`${key}=x`))?.rule
    expect(limit('b')?.limit).toEqual({ requestsPerUnit: 3, unit: 'day' })
    expect(limit('c')?.limit).toEqual({ requestsPerUnit: 3, unit: 'hour' })
    expect(limit('e')).toMatchObject({ limit: { requestsPerUnit: 3 }, shadowMode: true })
  })
})

describe('a fault of a rate limit file', () => {
  test.each<readonly [string, string, string]>([
    [
      'S62: empty domain',
      'descriptors: []',
      '1: domain is (missing); expected the domain of requests: a config file cannot have an empty domain',
    ],
    [
      'empty file',
      '',
      '1: domain is (missing); expected the domain of requests: a config file cannot have an empty domain',
    ],
    [
      "Tollgate's own domain",
      'domain: tollgate',
      '1: domain is tollgate; expected a domain other than tollgate, in which Envoy reports to Tollgate',
    ],
    [
      'S62: empty key',
      'domain: d\ndescriptors:\n- value: v',
      '3: descriptors[0].key is (missing); expected the key of an entry: a descriptor has no empty key',
    ],
    [
      'S62: unknown unit',
      keyWith('rate_limit: { unit: foo }'),
      '4: descriptors[0].rate_limit.unit is foo; expected one of second, minute, hour, day, week, month, year: an invalid rate limit unit',
    ],
    [
      'no unit',
      keyWith('rate_limit: { requests_per_unit: 1 }'),
      '4: descriptors[0].rate_limit.unit is (missing); expected one of second, minute, hour, day, week, month, year: an invalid rate limit unit',
    ],
    [
      'unit UNKNOWN',
      keyWith('rate_limit: { unit: UNKNOWN }'),
      '4: descriptors[0].rate_limit.unit is UNKNOWN; expected one of second, minute, hour, day, week, month, year: an invalid rate limit unit',
    ],
    [
      'S62: unknown key',
      keyWith('ratelimit: { unit: day }'),
      '4: descriptors[0].ratelimit is an unknown key (did you mean rate_limit?); expected one of key, value, rate_limit, descriptors, shadow_mode, quota_mode, detailed_metric, value_to_metric, share_threshold, metadata',
    ],
    [
      'S62: list of scalars',
      'domain: d\ndescriptors: [a]',
      '2: descriptors[0] is a; expected a mapping with keys of key, value, rate_limit, descriptors, shadow_mode, quota_mode, detailed_metric, value_to_metric, share_threshold, metadata, not a list or a value of another type than map',
    ],
    [
      'no list',
      'domain: d\ndescriptors: { key: k }',
      '2: descriptors is a mapping; expected a list of descriptors',
    ],
    [
      'S62: key that is no text',
      'domain: d\n1: x',
      '2: 1 is no text; expected a key that is plain text, in quotes if it looks like something else',
    ],
    [
      'key that is a list',
      'domain: d\n[a, b]: x',
      '2: ["?"] is no text; expected a key that is plain text, in quotes if it looks like something else',
    ],
    [
      'S62: composite key twice',
      'domain: d\ndescriptors:\n- { key: k, value: v }\n- { key: k_v }',
      '4: descriptors[1] is key k_v; expected another key or value: d.k_v is a duplicate descriptor composite key, the first is on line 3',
    ],
    [
      'share without a key',
      'domain: d\ndescriptors: [{ share_threshold: true }]',
      '2: descriptors[0].key is (missing); expected the key of an entry: a descriptor has no empty key',
    ],
    [
      'S62: unlimited with a unit',
      keyWith('rate_limit: { unlimited: true, unit: day }'),
      '4: descriptors[0].rate_limit.unit is day; expected to be left out: no rate limit unit is specified when unlimited',
    ],
    [
      'S62: replaces itself',
      keyWith('rate_limit: { unit: day, name: n, replaces: [{ name: n }] }'),
      '4: descriptors[0].rate_limit.replaces[0].name is n; expected the name of another limit: replaces does not contain the name of the same descriptor',
    ],
    [
      'S62: replaces nothing',
      keyWith('rate_limit: { unit: day, name: n, replaces: [{ name: "" }] }'),
      '4: descriptors[0].rate_limit.replaces[0].name is ""; expected the name of another limit: no empty replaces entry',
    ],
    [
      'S62: share without a star',
      keyWith('share_threshold: true'),
      '4: descriptors[0].share_threshold is true; expected false: share_threshold can only be used with a wildcard value (with a *)',
    ],
    [
      'S62: count with a fraction',
      keyWith('rate_limit: { unit: day, requests_per_unit: 1.5 }'),
      '4: descriptors[0].rate_limit.requests_per_unit is 1.5; expected a whole number from 0 to 4294967295, not in quotes',
    ],
    [
      'count in quotes',
      keyWith('rate_limit: { unit: day, requests_per_unit: "1" }'),
      '4: descriptors[0].rate_limit.requests_per_unit is "1"; expected a whole number from 0 to 4294967295, not in quotes',
    ],
    [
      'count too large',
      keyWith('rate_limit: { unit: day, requests_per_unit: 4294967296 }'),
      '4: descriptors[0].rate_limit.requests_per_unit is 4294967296; expected a whole number from 0 to 4294967295, not in quotes',
    ],
    [
      'count below zero',
      keyWith('rate_limit: { unit: day, requests_per_unit: -1 }'),
      '4: descriptors[0].rate_limit.requests_per_unit is -1; expected a whole number from 0 to 4294967295, not in quotes',
    ],
    [
      'flag in quotes',
      keyWith('shadow_mode: "true"'),
      '4: descriptors[0].shadow_mode is "true"; expected true or false, not in quotes',
    ],
    [
      'value with a fraction',
      keyWith('value: 1.5'),
      '4: descriptors[0].value is 1.5; expected the value of an entry, or a pattern with *: text, in quotes if it looks like a fraction',
    ],
    [
      'value that 63 bits do not hold',
      keyWith('value: 0x8000000000000000'),
      '4: descriptors[0].value is 0x8000000000000000; expected the value of an entry, or a pattern with *: text, in quotes if it looks like a fraction',
    ],
    [
      'value below what 64 bits hold',
      keyWith('value: -9223372036854775809'),
      '4: descriptors[0].value is -9223372036854775809; expected the value of an entry, or a pattern with *: text, in quotes if it looks like a fraction',
    ],
    [
      'merge key in quotes',
      keyWith('"<<": { value: a }'),
      `4: descriptors[0]["<<"] is an unknown key; expected one of ${descriptorKeys}`,
    ],
    [
      'merge key with the tag of a text',
      keyWith('!!str <<: { value: a }'),
      `4: descriptors[0]["<<"] is an unknown key; expected one of ${descriptorKeys}`,
    ],
    [
      'tag of its own at a merge key',
      keyWith('!own <<: { value: a }'),
      `4: descriptors[0]["<<"] is an unknown key; expected one of ${descriptorKeys}`,
    ],
    [
      'merge of an alias of a list',
      keyWith('descriptors: &list [{ key: a }]\n  <<: *list'),
      '5: descriptors[0]["<<"] is a list; expected a mapping, or a list of mappings that is no alias, to merge',
    ],
    ...['Null', 'NULL'].map(
      (nothing) =>
        [
          `limit that is ${nothing}`,
          keyWith(`rate_limit: ${nothing}`),
          `4: descriptors[0].rate_limit is ${nothing}; expected a mapping with keys of unit, requests_per_unit, unlimited, name, replaces, not a list or a value of another type than map`,
        ] as const,
    ),
    [
      'count that begins with an underscore',
      keyWith('rate_limit: { unit: day, requests_per_unit: _1 }'),
      '4: descriptors[0].rate_limit.requests_per_unit is _1; expected a whole number from 0 to 4294967295, not in quotes',
    ],
    [
      'name that is no number',
      keyWith('rate_limit: { unit: day, name: .inf }'),
      '4: descriptors[0].rate_limit.name is .inf; expected a name for this limit: text, in quotes if it looks like a fraction',
    ],
    [
      'metadata that is no mapping',
      keyWith('metadata: [a]'),
      '4: descriptors[0].metadata is a list; expected a mapping, of any keys',
    ],
    [
      'metadata under __proto__',
      keyWith('metadata: { a: { __proto__: b } }'),
      '4: descriptors[0].metadata.a.__proto__ is b; expected another key',
    ],
    [
      'merge of no mapping',
      keyWith('<<: 3'),
      '4: descriptors[0]["<<"] is 3; expected a mapping, or a list of mappings that is no alias, to merge',
    ],
    [
      'unknown alias',
      keyWith('rate_limit: *limit'),
      '4: descriptors[0].rate_limit is *limit; expected an alias of an anchor above it',
    ],
    [
      'composite key twice by an alias',
      'domain: d\ndescriptors:\n- &a { key: k, value: v }\n- *a',
      '4: descriptors[1] is key k, value v; expected another key or value: d.k_v is a duplicate descriptor composite key, the first is on line 3',
    ],
    [
      'tag that does not fit',
      keyWith('value: !!int five'),
      '4: descriptors[0].value is tagged !!int; expected a value that fits its tag, or no tag',
    ],
    [
      'number that a tag makes text',
      keyWith('rate_limit: { unit: day, requests_per_unit: !!str 5 }'),
      '4: descriptors[0].rate_limit.requests_per_unit is 5; expected a whole number from 0 to 4294967295, not in quotes',
    ],
    [
      'escape of a slash',
      keyWith('value: "/\\\\/a\\/b"'),
      '4: descriptors[0].value is written with \\/; expected / as it is, and a character beyond U+FFFF as one escape, as \\U0001F600',
    ],
    [
      'escape of half a character',
      keyWith('metadata: { a: [b, !c "\\ud83D\\uDE00"] }'),
      '4: descriptors[0].metadata.a[1] is written with \\ud83D; expected / as it is, and a character beyond U+FFFF as one escape, as \\U0001F600',
    ],
    [
      'escape of half a character in eight digits, in a key',
      keyWith('metadata: { "a\\U0000dFfF": b }'),
      '4: descriptors[0].metadata["a\\udfff"] is written with \\U0000dFfF; expected / as it is, and a character beyond U+FFFF as one escape, as \\U0001F600',
    ],
    [
      'control character',
      'domain: d\n# \u0000 \u0001\n\ndescriptors: []',
      '2: syntax is U+0000 at column 3; expected no control characters',
    ],
    [
      'another version of YAML',
      '# first\n%YAML 1.2\n---\ndomain: d',
      '1: file is %YAML 1.2; expected %YAML 1.1, or no such line',
    ],
  ])('%s', (_, text, expected) => {
    expect(faultsOf(text)).toEqual([`a.yaml:${expected}`])
  })

  test.each(['', '~', 'null', '!!null Null', '!!null "~"'])(
    'is no limit that is nothing: %s',
    (nothing) => {
      expect(faultsOf(keyWith(`rate_limit: ${nothing}`))).toEqual([])
    },
  )

  test.each(['descriptors', 'value', 'shadow_mode', 'metadata'])(
    'is no other key that is Null: %s',
    (key) => {
      expect(faultsOf(keyWith(`${key}: Null`))).toEqual([])
      expect(faultsOf(keyWith(`rate_limit: { unit: day, replaces: NULL, name: NULL }`))).toEqual([])
    },
  )

  test('is each line with a control character', () => {
    expect(faultsOf('a\u0000\u0000\n\n\u{1f600} \u007f\n')).toEqual([
      'a.yaml:1: syntax is U+0000 at column 2; expected no control characters',
      'a.yaml:3: syntax is U+007F at column 4; expected no control characters',
    ])
    expect(faultsOf('\ufeffdomain: "\u{1f600} \u2027 \u202a \ufffd"\r\n')).toEqual([])
  })

  test.each([
    ['\r', 'U+000D'],
    ['\u0085', 'U+0085'],
    ['\u2028', 'U+2028'],
    ['\u2029', 'U+2029'],
  ])('is a line break that only envoyproxy/ratelimit knows: %j', (lineBreak, code) => {
    const fault = (place: string, column: number): string =>
      `a.yaml:${place}: syntax is ${code} at column ${String(column)}; expected no line break but LF or CRLF`
    // What follows it would be a key there.
    expect(faultsOf(keyWith(`value: x # see${lineBreak}  shadow_mode: true`))).toEqual([
      fault('4', 17),
    ])
    expect(faultsOf(`domain: d\r\n# a${lineBreak}\r\ndescriptors: []${lineBreak}`)).toEqual([
      fault('2', 4),
      fault('3', 16),
    ])
  })

  test.each([
    '"\\\\/ \\\\ud800 \\u0000d800 \\U0001f600 \\u00e9"',
    String.raw`'\/ \ud800'`,
    String.raw`/\/ # "\/"`,
  ])('is no escape that envoyproxy/ratelimit takes, or takes for text: %s', (value) => {
    expect(faultsOf(keyWith(`value: ${value}`))).toEqual([])
  })

  test.each([
    keyWith(String.raw`value: "a\'b"`),
    'domain: d\ndescriptors: [{ key: k, value: -}]',
    ' domain: d\ndescriptors: []',
    keyWith('value: "a\n  b"'),
  ])('is some syntax that envoyproxy/ratelimit takes: %j', (text) => {
    expect(faultsOf(text)[0]).toMatch(/^a\.yaml:[24]: syntax is wrong at column \d+; /)
  })

  test('is no line break that is written as an escape', () => {
    expect(faultsOf(keyWith('value: "\\r \\N \\L \\P \\x85 \\u2028 \\u2029"'))).toEqual([])
  })

  test('hides no other one where it is an unknown alias, a tag that does not fit or a key that is no text', () => {
    const faults = faultsOf(`domain: *domain
descriptors:
- *descriptor
- { key: *key, rate_limit: { unit: eon } }
- { key: k }
- { key: k, value: *value, share_threshold: *flag, metadata: *metadata, descriptors: *list }
- { key: m, rate_limit: { unit: !!int day, requests_per_unit: !!int x, name: *name } }
- { key: n, rate_limit: *limit, <<: *merge }
- { key: o, 5: x, kye: 1 }
- { key: q, vlaue: *value }
- { key: p, rate_limit: *limit, rate_limit: { unit: day } }
`)
    expect(faults.map((fault) => fault.slice(0, fault.indexOf(';')))).toEqual([
      'a.yaml:1: domain is *domain',
      'a.yaml:3: descriptors[0] is *descriptor',
      'a.yaml:4: descriptors[1].key is *key',
      'a.yaml:4: descriptors[1].rate_limit.unit is eon',
      'a.yaml:6: descriptors[3].value is *value',
      'a.yaml:6: descriptors[3].share_threshold is *flag',
      'a.yaml:6: descriptors[3].metadata is *metadata',
      'a.yaml:6: descriptors[3].descriptors is *list',
      'a.yaml:7: descriptors[4].rate_limit.unit is tagged !!int',
      'a.yaml:7: descriptors[4].rate_limit.requests_per_unit is tagged !!int',
      'a.yaml:7: descriptors[4].rate_limit.name is *name',
      'a.yaml:8: descriptors[5].rate_limit is *limit',
      'a.yaml:8: descriptors[5]["<<"] is *merge',
      'a.yaml:9: descriptors[6].5 is no text',
      'a.yaml:9: descriptors[6].kye is an unknown key',
      'a.yaml:10: descriptors[7].vlaue is *value',
      'a.yaml:10: descriptors[7].vlaue is an unknown key (did you mean value?)',
      'a.yaml:11: descriptors[8].rate_limit is *limit',
    ])
  })

  test('hides no other one, in its file or another', () => {
    const faults = faultsOf(
      'domain: d\ndescriptors:\n- { key: a, rate_limit: { unit: eon } }\n- { kye: b }',
      'domian: d\ndescriptors:\n- key: a\n  descriptors:\n  - { rate_limit: { unit: day, requests_per_unit: x } }',
    )
    expect(faults.map((fault) => fault.slice(0, fault.indexOf(' is ')))).toEqual([
      'a.yaml:3: descriptors[0].rate_limit.unit',
      'a.yaml:4: descriptors[1].kye',
      'a.yaml:4: descriptors[1].key',
      'b.yaml:1: domian',
      'b.yaml:1: domain',
      'b.yaml:5: descriptors[0].descriptors[0].key',
      'b.yaml:5: descriptors[0].descriptors[0].rate_limit.requests_per_unit',
    ])
  })

  test('is a level too deep', () => {
    const nested = (levels: number): string =>
      levels === 0 ? '[]' : `[{ key: k, descriptors: ${nested(levels - 1)} }]`
    expect(faultsOf(`domain: d\ndescriptors: ${nested(31)}`)).toEqual([])
    const [fault, ...others] = faultsOf(`domain: d\ndescriptors: ${nested(32)}`)
    expect(fault).toContain('expected at most 32 levels of descriptors')
    expect(others).toEqual([])
  })

  test('is a level with too many patterns', () => {
    const level = (count: number, value: (index: number) => string): string =>
      `domain: d\ndescriptors:\n${Array.from({ length: count }, (_, index) => `- { key: k, value: "${value(index)}" }`).join('\n')}`
    expect(faultsOf(level(1000, (index) => `${String(index)}*`))).toEqual([])
    expect(faultsOf(level(1001, (index) => `${String(index)}*`))).toEqual([
      'a.yaml:2: descriptors is a list; expected at most 1000 patterns side by side',
    ])
    expect(faultsOf(level(32, (index) => `*${String(index)}*`))).toEqual([])
    expect(faultsOf(level(33, (index) => `*${String(index)}*`))).toEqual([
      'a.yaml:2: descriptors is a list; expected at most 32 patterns side by side that have a text between two stars',
    ])
  })

  test('is one of more than can be listed', () => {
    const keys = Array.from({ length: 5000 }, (_, index) => `unknown${String(index)}: 1`)
    expect(faultsOf(`domain: d\n${keys.join('\n')}`)).toHaveLength(201)
  })
})

describe('files together', () => {
  const one = 'domain: d\ndescriptors: [{ key: a, rate_limit: { unit: day } }]'

  test('S62: may not be of one domain', () => {
    expect(faultsOf(one, 'domain: e', '\ndomain: d')).toEqual([
      'c.yaml:2: domain is d; expected a domain of its own, or mergeDomains: true: duplicate domain, it is also that of a.yaml:1',
    ])
  })

  test('S63: may be of one domain where domains are merged, but not of one descriptor', () => {
    const other = one.replace('key: a', 'key: b')
    const { config, faults } = read([one, other], true)
    expect(faults).toEqual([])
    for (const entry of ['a=1', 'b=1']) {
      expect(config && lookUp(config, 'd', asked(entry))).toBeDefined()
    }
    expect(read([one, other, one], true).faults.map(formatFault)).toEqual([
      'c.yaml:2: descriptors[0] is key a; expected another key or value: d.a is a duplicate descriptor composite key, the first is at a.yaml:2',
    ])
  })

  test('may not have too many patterns side by side where they are merged', () => {
    const half = (from: number): string =>
      `domain: d\ndescriptors:\n${Array.from({ length: 501 }, (_, index) => `- { key: k, value: ${String(from + index)}* }`).join('\n')}`
    expect(read([half(1000), half(2000)], true).faults.map(formatFault)).toEqual([
      'a.yaml:2: descriptors is a list; expected at most 1000 patterns side by side, in all files of the domain together',
    ])
  })

  test('of which one alone has too many patterns are told so once', () => {
    const list = Array.from(
      { length: 1001 },
      (_, index) => `- { key: k, value: ${String(index)}* }`,
    )
    expect(read([`domain: d\ndescriptors:\n${list.join('\n')}`], true).faults).toHaveLength(1)
  })

  test('have at most so many descriptors', () => {
    const texts = ['a', 'b'].map((domain) => ({
      file: `${domain}.yaml`,
      text: `domain: ${domain}\ndescriptors: [{ key: k, descriptors: [{ key: l }] }]`,
    }))
    const faultsAt = (maxDescriptors: number) =>
      readRateLimitFiles(texts, { mergeDomains: false, maxDescriptors }).faults.map(formatFault)
    expect(faultsAt(4)).toEqual([])
    expect(faultsAt(3)).toEqual([
      'a.yaml: expected at most 3 descriptors in all files together, not 4',
    ])
  })

  test('none of them is a configuration without a domain', () => {
    expect(configOf().domains.size).toBe(0)
  })
})

test("the domain that no file may have is that of Tollgate's reports", () => {
  expect(reservedDomain).toBe(reportDomain)
})
