import { describe, expect, test } from 'vitest'
import { firstWarnings } from '../../../src/config/faults.js'
import { readRateLimitFiles } from '../../../src/config/rate-limits/files.js'
import { formatFault, formatWarning } from '../../../src/errors.js'
import { asked, lookUp } from '../../ratelimit/trees.js'

// What envoyproxy/ratelimit takes without a word, and what it makes of it: it reads with Go's yaml.v2, twice, and looks at
// keys that it does not know and at fractions only where the first reading keeps them. `ratelimit/against-peer.ts` asks it.

function read(text: string) {
  const { faults, warnings, config } = readRateLimitFiles([{ file: 'a.yaml', text }], {
    mergeDomains: false,
  })
  return { faults: faults.map(formatFault), warnings: warnings.map(formatWarning), config }
}

/** What limits the key `k`, in lines 4 and on, as it is read with this. */
const keyWith = (...lines: readonly string[]): string =>
  ['domain: d', 'descriptors:', '- key: k', ...lines.map((line) => `  ${line}`)].join('\n')

function ruleOf(text: string, domain = 'd', entry = 'k=v') {
  const { faults, config } = read(text)
  expect(faults).toEqual([])
  if (config === undefined) throw new Error('not read')
  return lookUp(config, domain, asked(entry))?.rule
}

const limitOf = (text: string, domain = 'd', entry = 'k=v'): string | undefined => {
  const rule = ruleOf(text, domain, entry)
  const { limit } = rule ?? {}
  if (limit === undefined) return rule === undefined ? 'none' : 'unlimited'
  return `${String(limit.requestsPerUnit)} per ${limit.unit}`
}

const descriptorKeys =
  'one of key, value, rate_limit, descriptors, shadow_mode, quota_mode, detailed_metric, value_to_metric, share_threshold, metadata'
const daily = 'rate_limit: { unit: day, requests_per_unit: 5 }'

describe('a warning of a rate limit file, and what holds:', () => {
  test.each<readonly [string, string, string, string]>([
    [
      'key twice',
      keyWith('rate_limit: { unit: day, requests_per_unit: 5, requests_per_unit: 3 }'),
      '3 per day',
      '4: descriptors[0].rate_limit.requests_per_unit is given again (this one holds); expected each key once: the first is on line 4',
    ],
    [
      'key twice, which is nothing at last',
      keyWith('rate_limit: { unit: day, requests_per_unit: 5, requests_per_unit: }'),
      '0 per day',
      '4: descriptors[0].rate_limit.requests_per_unit is given again (this one holds); expected each key once: the first is on line 4',
    ],
    [
      'list of descriptors twice',
      'domain: d\ndescriptors: [{ key: "", ratelimit: x }]\n' + keyWith(daily).slice(10),
      '5 per day',
      '3: descriptors is given again (this one holds); expected each key once: the first is on line 2',
    ],
    [
      'rate limit twice',
      keyWith('rate_limit: { unit: hour, requests_per_unit: 5 }', 'rate_limit: { unit: day }'),
      '5 per day',
      '5: descriptors[0].rate_limit is given again (added to the one before); expected each key once: the first is on line 4',
    ],
    [
      'rate limit twice, with a merge',
      keyWith(
        'rate_limit: { unit: hour, requests_per_unit: 5 }',
        'rate_limit: { <<: { unit: day } }',
      ),
      '5 per day',
      '5: descriptors[0].rate_limit is given again (added to the one before); expected each key once: the first is on line 4',
    ],
    [
      'key before a merge that has it, too',
      keyWith('rate_limit: { unit: day, requests_per_unit: 5, <<: { requests_per_unit: 9 } }'),
      '9 per day',
      '4: descriptors[0].rate_limit["<<"].requests_per_unit is given again (this one holds); expected each key once: the first is on line 4',
    ],
    [
      'key before a merge of a merge',
      keyWith('rate_limit: { unit: day, <<: { <<: { unit: hour, requests_per_unit: 9 } } }'),
      '9 per hour',
      '4: descriptors[0].rate_limit["<<"]["<<"].unit is given again (this one holds); expected each key once: the first is on line 4',
    ],
    [
      'rate limit beside one that is merged',
      keyWith(
        '<<: { rate_limit: { unit: day, requests_per_unit: 9 } }',
        'rate_limit: { unit: hour }',
      ),
      '9 per hour',
      '5: descriptors[0].rate_limit is given again (added to the one before); expected each key once: the first is on line 4',
    ],
    [
      'rate limit before, in and behind a merge',
      keyWith(
        'rate_limit: { unit: day, requests_per_unit: 4 }',
        '<<: { rate_limit: { unit: hour } }',
        'rate_limit: { requests_per_unit: 5 }',
      ),
      '5 per hour',
      '6: descriptors[0].rate_limit is given again (added to the one before); expected each key once: the first is on line 4',
    ],
    [
      'merge twice',
      keyWith(
        '<<: { rate_limit: { unit: day, requests_per_unit: 4 } }',
        '<<: { rate_limit: { unit: hour, requests_per_unit: 5 } }',
      ),
      '5 per hour',
      '5: descriptors[0]["<<"] is given again (merged last); expected each key once: the first is on line 4',
    ],
    [
      'rate limit three times, of which one is NULL',
      keyWith(daily, 'rate_limit: NULL', 'rate_limit: { unit: day }'),
      '0 per day',
      '6: descriptors[0].rate_limit is given again (this one holds); expected each key once: the first is on line 4',
    ],
    [
      'rate limit three times, of which one is none',
      keyWith(daily, 'rate_limit:', 'rate_limit: { unit: day }'),
      '0 per day',
      '6: descriptors[0].rate_limit is given again (this one holds); expected each key once: the first is on line 4',
    ],
    [
      'rate limit twice, which is nothing at last',
      keyWith(daily, 'rate_limit: ~'),
      'none',
      '5: descriptors[0].rate_limit is given again (this one holds); expected each key once: the first is on line 4',
    ],
    [
      'rate limit twice, at first with what is no known key',
      keyWith('rate_limit: { unit: eon, per: 1 }', daily),
      '5 per day',
      '5: descriptors[0].rate_limit is given again (added to the one before); expected each key once: the first is on line 4',
    ],
    [
      'known key in a wrong place',
      keyWith('unlimited: true', daily),
      '5 per day',
      `4: descriptors[0].unlimited is a key of rate_limit (no effect); expected ${descriptorKeys}`,
    ],
    [
      'known key in a wrong place, with others that are known',
      keyWith('replaces: [{ unit: 5, key: { metadata: { any: [1.5] } } }]', daily),
      '5 per day',
      `4: descriptors[0].replaces is a key of rate_limit (no effect); expected ${descriptorKeys}`,
    ],
    [
      'unlimited with a unit that there is not',
      keyWith('rate_limit: { unlimited: true, unit: fortnight }'),
      'unlimited',
      '4: descriptors[0].rate_limit.unit is fortnight (no effect); expected to be left out: no rate limit unit is specified when unlimited',
    ],
    [
      'second document',
      `${keyWith(daily)}\n---\n: [ } no YAML`,
      '5 per day',
      '5: file is more than one document (only the first is read); expected one document, without a second one after ---',
    ],
    [
      'second document behind a mark of the end',
      `%YAML 1.1\n--- # the first\n${keyWith(daily)}\n...\n# none\n%YAML 3\n`,
      '5 per day',
      '7: file is more than one document (only the first is read); expected one document, without a second one after ...',
    ],
    [
      'tag that is not known, at a scalar',
      keyWith('value: !secret v', daily),
      '5 per day',
      '4: descriptors[0].value is tagged !secret (read as text); expected no tag (a word after !)',
    ],
    [
      'tag that is not known, at what is none',
      keyWith('rate_limit: !!set { unit: day, requests_per_unit: 5 }'),
      '5 per day',
      '4: descriptors[0].rate_limit is tagged !!set (no effect); expected no tag (a word after !)',
    ],
    [
      'tag of a scalar at a mapping',
      keyWith('rate_limit: !!int { unit: day, requests_per_unit: 5 }'),
      '5 per day',
      '4: descriptors[0].rate_limit is tagged !!int (no effect); expected no tag (a word after !)',
    ],
    [
      'tag of a mapping at a scalar',
      keyWith('value: !!map v', daily),
      '5 per day',
      '4: descriptors[0].value is tagged !!map (read as text); expected no tag (a word after !)',
    ],
  ])('%s', (_, text, limit, warning) => {
    expect(limitOf(text)).toBe(limit)
    expect(read(text).warnings).toEqual([`a.yaml:${warning}`])
  })

  test('what has a tag that only ends as a known one is text', () => {
    const text = keyWith('value: !x:int 1.5', daily)
    expect(limitOf(text, 'd', 'k=1.5')).toBe('5 per day')
    expect(read(text).warnings).toEqual([
      'a.yaml:4: descriptors[0].value is tagged !x:int (read as text); expected no tag (a word after !)',
    ])
  })

  test('a domain twice is the last', () => {
    const text = `domain: e\n${keyWith(daily)}`
    expect(limitOf(text, 'd')).toBe('5 per day')
    expect(limitOf(text, 'e')).toBe('none')
  })

  test('the list of what a limit replaces is the last one', () => {
    const text = keyWith(
      'rate_limit: { unit: day, name: n, replaces: [{ name: a }, { name: b }] }',
      'rate_limit: { replaces: [{ name: c, name: e }] }',
    )
    expect(ruleOf(text)).toMatchObject({ name: 'n', replaces: ['e'] })
  })

  test('metadata twice is added to, and in it the last of a key holds', () => {
    const text = keyWith(
      daily,
      'metadata: { a: { b: 1 }, c: 1, e: 1 }',
      'metadata: { a: { f: 1 }, c: 2, c: [{ g: 1, g: 2 }] }',
    )
    expect(ruleOf(text)?.metadata).toEqual({ a: { f: 1 }, c: [{ g: 2 }], e: 1 })
    expect(read(text).warnings).toEqual([
      'a.yaml:6: descriptors[0].metadata is given again (added to the one before); expected each key once: the first is on line 5',
      'a.yaml:6: descriptors[0].metadata.c is given again (this one holds); expected each key once: the first is on line 6',
      'a.yaml:6: descriptors[0].metadata.c[0].g is given again (this one holds); expected each key once: the first is on line 6',
    ])
  })

  test('in metadata, too, the last of a key holds, in a merge or not; but "<<" in quotes is one', () => {
    const text = keyWith(
      daily,
      'metadata: { a: { "1": x, <<: { "1": w, b: 1 }, b: 2 }, c: { <<: { "1": z }, "1": x }, "<<": d }',
    )
    expect(ruleOf(text)?.metadata).toEqual({ a: { 1: 'w', b: 2 }, c: { 1: 'x' }, '<<': 'd' })
    expect(read(text).warnings).toEqual([
      'a.yaml:5: descriptors[0].metadata.a["<<"].1 is given again (this one holds); expected each key once: the first is on line 5',
    ])
  })

  test('what is given again stands behind an alias and in a merge, too', () => {
    const text = keyWith(
      'rate_limit: &limit { unit: hour, unit: day, requests_per_unit: 2 }',
      'descriptors: [{ key: l, rate_limit: *limit }]',
      '<<: { shadow_mode: false, shadow_mode: true }',
    )
    const { config, warnings } = read(text)
    const below = config && lookUp(config, 'd', asked('k=v', 'l=w'))?.rule
    expect(below?.limit).toEqual({ requestsPerUnit: 2, unit: 'day' })
    expect(ruleOf(text)?.shadowMode).toBe(true)
    expect(warnings.map((line) => line.slice(0, line.indexOf(' is ')))).toEqual([
      'a.yaml:4: descriptors[0].rate_limit.unit',
      'a.yaml:4: descriptors[0].descriptors[0].rate_limit.unit',
      'a.yaml:6: descriptors[0]["<<"].shadow_mode',
    ])
  })
})

describe('a rate limit file has no warning', () => {
  test.each([
    `${keyWith(daily)}\n---\n# nothing\n`,
    `${keyWith(daily)}\n...\n\n`,
    `# one\n---\n${keyWith(daily)}`,
    keyWith('value: |-', '  v', daily, 'descriptors:', '- { key: a ---, value: "---" }'),
    `${keyWith(daily)}\n  value: |\n    ---\n    ...\n`,
    keyWith('!!merge <<: { rate_limit: !!map { unit: !!str day, requests_per_unit: 5 } }'),
    keyWith('!!str value: v', daily),
    keyWith('<<: { value: a, shadow_mode: no }', 'value: b', daily),
    keyWith('<<: [{ value: a }, { value: b }]', daily),
    keyWith('<<: [{ value: a }, { value: b, value: c }]', daily),
    keyWith('<<: { shadow_mode: no, <<: [{ value: b }] }', 'value: c', daily),
    keyWith(`<<: { ${daily} }`, 'rate_limit: { requests_per_unit: 9, unit: hour, name: n }'),
    keyWith(`<<: { ${daily} }`, 'rate_limit:'),
    keyWith(`! "<<": { ${daily} }`),
    keyWith(`!!merge "<<": { ${daily} }`),
    keyWith('rate_limit: { unlimited: true }'),
    `${keyWith('value: ---', daily)}\n...\n`,
    `${keyWith('value: ...', daily)}\n...\n`,
  ])('where it means what it looks like: %j', (text) => {
    expect(read(text)).toMatchObject({ faults: [], warnings: [] })
  })
})

describe('a fault stays one', () => {
  const typed = ', in quotes if it looks like a fraction'
  test.each<readonly [string, string, string]>([
    [
      'in a wrong place: a fraction',
      keyWith('unlimited: 1.5'),
      `4: descriptors[0].unlimited is 1.5; expected text${typed}`,
    ],
    [
      'in a wrong place: an unknown key',
      keyWith('domain: { uint: day }'),
      '4: descriptors[0].domain.uint is an unknown key',
    ],
    [
      'in a wrong place: a list of something else than mappings',
      keyWith('domain: [{}, a]'),
      '4: descriptors[0].domain[1] is a; expected a mapping, not a list or a value of another type than map',
    ],
    [
      'in a wrong place: below a list and a merge',
      keyWith('domain: [{ <<: { unit: .inf } }]'),
      `4: descriptors[0].domain[0]["<<"].unit is .inf; expected text${typed}`,
    ],
    [
      'in a wrong place: a merge of nothing',
      keyWith('domain: { <<: 3 }'),
      '4: descriptors[0].domain["<<"] is 3; expected a mapping, or a list of mappings that is no alias, to merge',
    ],
    [
      'unlimited with a unit that there is',
      keyWith('rate_limit: { unlimited: true, unit: DAY }'),
      '4: descriptors[0].rate_limit.unit is DAY; expected to be left out',
    ],
    [
      'tag that is not known, at a count',
      keyWith('rate_limit: { unit: day, requests_per_unit: !own 5 }'),
      '4: descriptors[0].rate_limit.requests_per_unit is 5; expected a whole number',
    ],
    [
      'tag whose beginning is not known',
      keyWith('value: !e!own v'),
      '4: syntax is wrong at column 10; expected',
    ],
    ['first of two documents that says nothing', '---\n---\ndomain: d', '1: domain is (missing)'],
    ['mark of an end before anything', '# a\n...\ndomain: d', '1: domain is (missing)'],
    [
      'first of two documents that does not end',
      'domain: [\n---\n]',
      '2: syntax is wrong at column 1; expected a closing',
    ],
    [
      'control character in a second document',
      'domain: d\n---\n\u0001',
      '3: syntax is U+0001 at column 1',
    ],
  ])('%s', (_, text, fault) => {
    const [first, ...others] = read(text).faults
    expect(first).toContain(`a.yaml:${fault}`)
    expect(others).toEqual([])
  })

  test.each([
    ['rate_limit', 'rate_limit: []', daily],
    ['rate_limit', 'rate_limit: { requests_per_unit: x }', 'rate_limit: ~'],
    ['rate_limit', 'rate_limit: { requests_per_unit: -1, requests_per_unit: 1 }', daily],
    ['rate_limit', 'rate_limit: { requests_per_unit: 4294967296 }', 'rate_limit: ~'],
    ['rate_limit', 'rate_limit: { unlimited: 1 }', 'rate_limit: ~'],
    ['rate_limit', 'rate_limit: { name: [] }', 'rate_limit: ~'],
    ['rate_limit', 'rate_limit: { replaces: [a] }', 'rate_limit: ~'],
    ['rate_limit', 'rate_limit: { <<: 3 }', 'rate_limit: ~'],
    ['descriptors', 'descriptors: {}', 'descriptors: []'],
    ['descriptors', 'descriptors: [a]', 'descriptors: []'],
    ['descriptors', 'descriptors: [{ rate_limit: { unit: {} } }]', 'descriptors: []'],
    ['metadata', 'metadata: [a]', 'metadata: {}'],
    ['value', 'value: []', 'value: v'],
    ['shadow_mode', 'shadow_mode: 1', 'shadow_mode: no'],
  ])('where the key is given again and right: %s as %s', (key, first, last) => {
    const { faults } = read(keyWith(first, last))
    expect(faults).toEqual([
      expect.stringContaining(`a.yaml:4: descriptors[0].${key} is `) as string,
    ])
    expect(faults[0]).toContain(`; expected what fits ${key}, also where it is given again`)
  })

  test.each([
    'descriptors: [~, { key: 1.5, kye: 1, unlimited: {} }]\n  descriptors: []',
    'rate_limit: { requests_per_unit: 1.5, unit: eon }\n  rate_limit: ~',
    'rate_limit: { requests_per_unit: -0.5 }\n  rate_limit: ~',
    'rate_limit: { unlimited: }\n  rate_limit: ~',
  ])('but what has no effect is none: %s', (lines) => {
    expect(read(keyWith(lines)).faults).toEqual([])
  })

  test('and hides no warning of its file', () => {
    const { faults, warnings } = read(`domain: d\n${keyWith('value: !own v', 'value: "')}\n`)
    expect(faults).toEqual(['a.yaml:7: syntax is wrong at column 1; expected a closing quote'])
    expect(warnings).toEqual([
      'a.yaml:5: descriptors[0].value is tagged !own (read as text); expected no tag (a word after !)',
    ])
  })
})

describe('warnings that are too many', () => {
  test('are counted: of a file', () => {
    const again = Array.from({ length: 300 }, () => '- { key: k, key: l }').join('\n')
    const { warnings } = read(`domain: d\ndescriptors:\n${again}`)
    expect(warnings).toHaveLength(201)
    expect(warnings.at(-1)).toBe('a.yaml: expected fewer warnings: 100 more are not listed')
  })

  test.each(['key: k, key: l', 'key: k, unit: day', 'rate_limit: { unlimited: yes, unit: eon }'])(
    'are looked for up to a thousand of a file: %s',
    (line) => {
      const many = Array.from({ length: 1200 }, () => `- { ${line} }`).join('\n')
      expect(read(`domain: d\ndescriptors:\n${many}`).warnings.at(-1)).toBe(
        'a.yaml: expected fewer warnings: 800 more are not listed',
      )
    },
  )

  test('are of what is a fault, too', () => {
    expect(read(keyWith('rate_limit: []', daily)).warnings).toEqual([
      'a.yaml:5: descriptors[0].rate_limit is given again (this one holds); expected each key once: the first is on line 4',
    ])
  })

  test('are counted: of all files together', () => {
    const texts = ['a', 'b', 'c'].map((domain) => ({
      file: `${domain}.yaml`,
      text: `domain: ${domain}\ndescriptors:\n${'- { key: k, key: l }\n'.repeat(100)}`,
    }))
    const { warnings } = readRateLimitFiles(texts, { mergeDomains: false })
    expect(warnings).toHaveLength(300)
    const first = firstWarnings('DIR', warnings).map(formatWarning)
    expect(first).toHaveLength(201)
    expect(first[199]).toContain('b.yaml:')
    expect(first[200]).toBe('DIR: expected fewer warnings: 100 more are not listed')
    expect(firstWarnings('DIR', warnings.slice(0, 200))).toHaveLength(200)
  })
})
