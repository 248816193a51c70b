import { describe, expect, test } from 'vitest'
import { parseDocument } from 'yaml'
import type { Node, YAMLSeq } from 'yaml'
import { readYaml } from '../../src/config/yaml-document.js'
import { createPlaces } from '../../src/config/yaml-places.js'
import { ConfigError } from '../../src/errors.js'

function refusalOf(text: string, aliases: 'follow' | 'refuse' = 'follow'): string {
  try {
    readYaml('f.yaml', text, { aliases })
  } catch (error) {
    if (error instanceof ConfigError) return error.message
    throw error
  }
  throw new Error('the file was not refused')
}

test('an alias stands for the value of the last anchor above it', () => {
  const text = 'a: &x { n: 1 }\nb: *x\nc: &x 2\nd: *x\n'
  expect(readYaml('f.yaml', text, { aliases: 'follow' }).value).toEqual({
    a: { n: 1 },
    b: { n: 1 },
    c: 2,
    d: 2,
  })
})

test('an escape of YAML 1.2 is one where nobody is warned', () => {
  const { value } = readYaml('f.yaml', String.raw`a: "b\/c"`, { aliases: 'refuse' })
  expect(value).toEqual({ a: 'b/c' })
})

test('a fault behind an alias is shown where the value is written', () => {
  const document = readYaml('f.yaml', 'a: &x\n  n: wrong\nb: *x\n', { aliases: 'follow' })
  expect(document.fault(['b', 'n'], 'a number')).toEqual({
    file: 'f.yaml',
    line: 2,
    key: 'b.n',
    value: 'wrong',
    expected: 'a number',
  })
})

test.each([
  ['a: !own x', 'f.yaml:1: a is tagged !own; expected no tag (a word after !)'],
  ['a: !own { b: c }', 'f.yaml:1: a is tagged !own; expected no tag (a word after !)'],
  ['a: 1\na: 2', 'f.yaml:2: a is given again; expected each key once: the first is on line 1'],
  [
    'a: 1\n---\na: 2',
    'f.yaml:2: syntax is wrong at column 1; expected one document, without a second one after ---',
  ],
])('what only rate limit files may have is a fault where nobody is warned: %j', (text, refusal) => {
  expect(refusalOf(text)).toBe(refusal)
})

test('an alias without an anchor above it is a fault', () => {
  expect(refusalOf('a: *x\nb: &x 1\n')).toBe(
    'f.yaml:1: a is *x; expected an alias of an anchor above it',
  )
})

test('aliases that unfold to millions of values are refused', () => {
  const layers = Array.from(
    { length: 8 },
    (_, layer) =>
      `l${String(layer + 1)}: &l${String(layer + 1)} [${`*l${String(layer)}, `.repeat(10)}]`,
  )
  expect(refusalOf(['l0: &l0 x', ...layers].join('\n'))).toBe(
    'f.yaml: expected at most 200000 values, those of aliases included',
  )
})

test('an anchor that holds itself is refused', () => {
  expect(refusalOf('a: &x [*x]\n')).toBe(
    'f.yaml: expected at most 200000 values, those of aliases included',
  )
})

test('keys that are special in JavaScript are ordinary ones', () => {
  const { value } = readYaml('f.yaml', '__proto__: 1\nconstructor: 2\n', { aliases: 'refuse' })
  expect(Object.keys(value as object)).toEqual(['__proto__', 'constructor'])
  expect(({} as Record<string, unknown>)['1']).toBeUndefined()
})

test('numbers and words mean what YAML 1.2 says', () => {
  const text = 'a: 0x10\nb: 1e3\nc: 010\nd: yes\ne: ~\nf: "7"\n'
  expect(readYaml('f.yaml', text, { aliases: 'refuse' }).value).toEqual({
    a: 16,
    b: 1000,
    c: 10,
    d: 'yes',
    e: null,
    f: '7',
  })
})

test('a value is shown in one printable line of at most 80 characters', () => {
  const document = readYaml('f.yaml', `a: "x\\e${'y'.repeat(200)}"\nb: |\n  one\n  two\n`, {
    aliases: 'refuse',
  })
  const long = document.fault(['a'], 'x').value
  expect(long).toHaveLength(80)
  expect(long.endsWith('...')).toBe(true)
  expect(document.fault(['b'], 'x').value).toBe('| one two')
})

describe('a mistake in the syntax is told with its place and what would be right', () => {
  const column = 'what belongs together in one column, and what is inside it further right'
  const commas = 'a comma between the entries of { } or [ ], and every entry as KEY: VALUE or VALUE'
  const closing =
    'a closing } or ] for every { or [, and all that is inside further right than its key'
  const keys =
    'keys of one mapping in one column, and quotes around a text with a colon and a space in it'
  const more = 'nothing more here, the column of the lines above, or quotes around the whole text'
  const pair = 'KEY: VALUE on one line, with a colon and a space'

  const faults: readonly (readonly [text: string, place: string | undefined, expected: string])[] =
    [
      ['a:\n\tb: c', '2 1', 'spaces before what stands here, no tab'],
      ['a: [b, { c: d }\n', '2 1', closing],
      ['a: { b: c\n', '2 1', closing],
      ['a:\n  - b: c\n c: d', '3 1', column],
      ['a:\n  b: c\n d: e', '3 1', column],
      ['a: "b', '1 6', 'a closing quote'],
      ["a: 'b", '1 6', 'a closing quote'],
      ['a: b: c', '1 4', keys],
      ['- a: b\n   c: d', '1 6', keys],
      ['a: @b', '1 4', 'quotes around a text that begins with @, ` or %'],
      ['a: %b', '1 4', 'quotes around a text that begins with @, ` or %'],
      [String.raw`a: "b\q"`, '1 6', 'an escape of YAML after \\, or single quotes around the text'],
      ['a b\nc: d', '1 1', pair],
      ['a: {b: c d: e}', '1 8', commas],
      ['a: ["b" "c"]', '1 9', commas],
      ['a: {"b":c}\nd: {"e" "f"}', '2 9', commas],
      ['a: "b"#c', '1 7', 'a space before #'],
      ['a: "b" c', '1 8', more],
      [' a: b\nc: d', '2 1', more],
      ['a: &', '1 4', 'a name after & or *, which ends in no colon'],
      ['b: &y 1\na: &x *y', '2 7', 'an alias without an anchor or tag'],
      ['a: !!str"b"', '1 9', 'a space after the anchor or tag'],
      ['a: !!map [b]', '1 4', 'no tag (a word after !)'],
      [`${'a'.repeat(1100)}: b`, '1 1', 'a key of at most 1024 characters'],
      ['a: &b &c d', '1 7', 'one anchor'],
      ['%FOO\n---\na: b', '1 1', 'no line that begins with %'],
      ['%YAML 1.2\na: b', '2 1', '--- on a line of its own, after lines that begin with %'],
      ['a: b\n---\nc: d', '2 1', 'one document, without a second one after ---'],
      [`a: ${'['.repeat(50_000)}`, undefined, 'fewer levels inside each other'],
    ]
  test.each(faults.map((fault) => [JSON.stringify(fault[0]).slice(0, 60), ...fault] as const))(
    '%s',
    (_, text, place, expected) => {
      const [first = ''] = refusalOf(text.slice(0, 60_000)).split('\n')
      const [line, at] = (place ?? '').split(' ')
      if (place === undefined) expect(first).toContain(`; expected ${expected}`)
      else {
        expect(first).toBe(
          `f.yaml:${line ?? ''}: syntax is wrong at column ${at ?? ''}; expected ${expected}`,
        )
      }
    },
  )
})

test('the place of so many nodes is put together, and no more', () => {
  const places = createPlaces()
  const list = parseDocument('[a]').contents as YAMLSeq<Node>
  const item = list.items[0] as Node
  places.enter(0, item)
  for (let asked = 0; asked < 1000; asked += 1) expect(places.of(item, [list])).toEqual([0])
  expect(places.of(item, [list])).toEqual([])
})

test('what a policy names by an alias or a tag is not shown: it could be a secret in the wrong place', () => {
  expect(refusalOf('password: *hunter2\nuser: !hunter2 x\n', 'refuse')).toBe(
    [
      'f.yaml:1: password is an alias; expected no alias: write it out',
      'f.yaml:2: user is tagged; expected no tag (a word after !)',
    ].join('\n'),
  )
})

describe('the password of a URL is never shown', () => {
  test.each([
    ['as it is', 'redis://user:hunter2@redis'],
    ['folded over two lines', 'redis://user:hun\n  ter2@redis'],
    ['folded in quotes', '"redis://user:hun\n  ter2@redis"'],
    ['folded without a space', '"redis://user:hun\\\n  ter2@redis"'],
    ['folded in a block', '>-\n  redis://user:hun\n  ter2@redis'],
    ['with a slash', 'redis://user:hun/ter2@redis'],
    ['with an @', 'redis://user:hun@ter2@redis'],
    ['with escapes around it', '"redis:\\x2f\\x2fuser:hunter2\\x40redis"'],
  ])('%s', (_how, url) => {
    const document = readYaml('f.yaml', `url: ${url}\n`, { aliases: 'refuse' })
    expect(document.fault(['url'], 'another').value).toBe('redis://***@redis')
  })

  test('and a text without one is', () => {
    for (const text of ['https://idp.example.com/realms/ml', 'alice@example.com//x']) {
      const document = readYaml('f.yaml', `url: ${text}\n`, { aliases: 'refuse' })
      expect(document.fault(['url'], 'another').value).toBe(text)
    }
  })
})
