import { expect, test } from 'vitest'
import { readYaml } from '../../src/config/yaml-document.js'
import { ConfigError } from '../../src/errors.js'

function refusalOf(text: string): string {
  try {
    readYaml('f.yaml', text, { aliases: 'follow' })
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

test('an alias without an anchor above it is a fault', () => {
  expect(refusalOf('a: *x\nb: &x 1\n')).toBe(
    'f.yaml:1: syntax expected an alias of an anchor above it',
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
