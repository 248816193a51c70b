import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { readPartly, wrong } from '../../src/config/partly.js'
import { formatPath } from '../../src/config/faults.js'
import { flag, list, mapping, wholeNumber, word } from '../../src/config/values.js'

function read<Schema extends z.ZodType>(schema: Schema, value: unknown) {
  const faults: string[] = []
  const reading = readPartly(schema, value, {
    value: (at, expected) => faults.push(`${formatPath(at)} expected ${expected}`),
    key: (at, what, expected) => faults.push(`${formatPath(at)} is ${what}; expected ${expected}`),
  })
  return { faults, ...reading }
}

const size = wholeNumber(1, 9, 'bytes')
const sizeFault = 'expected a whole number of bytes from 1 to 9'

describe('whatever a schema refuses is said, and nothing of it is sound', () => {
  test.each<readonly [string, z.ZodType, unknown, readonly string[]]>([
    [
      'a rule of a mapping',
      mapping({ min: size, max: size }).refine(({ min, max }) => min < max, { error: 'min < max' }),
      { a: { min: 5, max: 2 } },
      ['a expected min < max'],
    ],
    [
      'a rule of a mapping, at one of its keys',
      mapping({ min: size, max: size }).superRefine((_, context) => {
        context.addIssue({ code: 'custom', path: ['max'], message: 'more than min' })
      }),
      { a: { min: 5, max: 2 } },
      ['a.max expected more than min'],
    ],
    ['a record', z.record(z.string(), size), { a: { one: 1, two: 'b' } }, [`a.two ${sizeFault}`]],
    [
      'a key of a record',
      z.record(z.string().max(3, { error: 'a short key' }), size),
      { a: { eleven: 1 } },
      ['a.eleven expected Invalid key in record'],
    ],
    ['a tuple', z.tuple([size, size]), { a: [1, 'b'] }, [`a[1] ${sizeFault}`]],
    [
      'a mapping or null',
      mapping({ size }).nullable(),
      { a: { size: 0 } },
      [`a.size ${sizeFault}`],
    ],
    [
      'an unknown key of a mapping or null',
      mapping({ size }).nullable(),
      { a: { size: 1, sice: 1 } },
      ['a.sice is unknown; expected no such key'],
    ],
    [
      'a mapping that is turned into something else',
      mapping({ size }).transform(({ size: bytes }) => bytes),
      { a: { size: 0 } },
      [`a.size ${sizeFault}`],
    ],
    [
      'what a mapping is turned into',
      mapping({ size }).transform((_, context) => {
        context.addIssue({ code: 'custom', message: 'another size' })
        return z.NEVER
      }),
      { a: { size: 1 } },
      ['a expected another size'],
    ],
    [
      'a rule of a list, at one of its items',
      list(size, 9).superRefine((_, context) => {
        context.addIssue({ code: 'custom', path: [1], message: 'another size' })
      }),
      { a: [1, 1] },
      ['a[1] expected another size'],
    ],
    [
      'a choice of schemas',
      z.union([size, flag()], { error: 'a size or a flag' }),
      { a: 'b' },
      ['a expected a size or a flag'],
    ],
    [
      'a list behind a choice of schemas',
      z.union([list(size, 9), flag()], { error: 'sizes or a flag' }),
      { a: [0] },
      ['a expected sizes or a flag'],
    ],
    ['a lazy schema', z.lazy(() => mapping({ size })), { a: { size: 0 } }, [`a.size ${sizeFault}`]],
    ['a value that is not to be changed', size.readonly(), { a: 0 }, [`a ${sizeFault}`]],
  ])('%s', (_, schema, value, faults) => {
    const found = read(mapping({ a: schema, b: flag().default(true) }), value)
    expect(found.faults).toEqual(faults)
    expect(found.sound).toBeUndefined()
    expect(found.content.b).toBe(true)
  })
})

test('what cannot be followed is wrong as a whole, not missing', () => {
  const schema = mapping({
    record: z.record(z.string(), size),
    tuple: z.tuple([size]),
    nullable: mapping({ size }).nullable(),
    changed: mapping({ size }).transform(({ size: bytes }) => bytes),
  })
  const value = { record: { a: 0 }, tuple: [0], nullable: { size: 0 }, changed: { size: 0 } }
  expect(read(schema, value).content).toEqual({
    record: wrong,
    tuple: wrong,
    nullable: wrong,
    changed: wrong,
  })
})

test('what stands beside a wrong value is read', () => {
  const schema = mapping({ sizes: list(size, 3), inner: mapping({ size, on: flag() }).optional() })
  expect(read(schema, { sizes: [1, 'b', 3], inner: { size: 0, on: true } }).content).toEqual({
    sizes: [1, wrong, 3],
    inner: { size: wrong, on: true },
  })
  expect(read(schema, { sizes: [1, 2, 3, 4], inner: 7 }).content).toEqual({
    sizes: wrong,
    inner: wrong,
  })
})

describe('an unknown key', () => {
  const schema = mapping({
    name: flag().optional(),
    maxOutputTokens: size.optional(),
    unit: word(['tokens']).optional(),
  })
  const known = 'one of name, maxOutputTokens, unit'

  test.each([
    ['maxOutputTokns', 'maxOutputTokens'],
    ['max_output_tokens', 'maxOutputTokens'],
    ['maxTokens', 'maxOutputTokens'],
    ['MAXOUTPUTTOKENS', 'maxOutputTokens'],
    ['units', 'unit'],
    ['nmae', 'name'],
  ])('that is near a known one is answered with it: %s', (key, meant) => {
    expect(read(schema, { [key]: 1 }).faults).toEqual([
      `${key} is unknown (did you mean ${meant}?); expected ${known}`,
    ])
  })

  test.each(['password', 'x', 'maxOutputTokens'.repeat(10), ''])(
    'that is near none is answered with all: %j',
    (key) => {
      expect(read(schema, { [key]: 1 }).faults).toEqual([
        `${formatPath([key])} is unknown; expected ${known}`,
      ])
    },
  )

  test('is not taken for a key that is there', () => {
    expect(read(schema, { unit: 'tokens', units: 1 }).faults).toEqual([
      `units is unknown; expected ${known}`,
    ])
  })
})

test('a key without a value may be left out, where it may be left out', () => {
  const schema = mapping({
    needed: flag(),
    optional: mapping({ size }).optional(),
    usual: list(size, 3).default([]),
  })
  expect(read(schema, { needed: null, optional: null, usual: null }).faults).toEqual([
    'needed expected true or false',
    'optional expected a mapping, or the key left out',
    'usual expected a list, or the key left out',
  ])
})
