import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isDenial } from '../../src/denial.js'
import { parseJson } from '../../src/llm/json.js'
import type { JsonObject, JsonValue } from '../../src/llm/json.js'
import { isArray, isObject, survivesRewrite } from '../../src/llm/json-text.js'
import { runs } from '../runs.js'

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text)
}

function read(text: string): JsonObject {
  const value = parseJson(bytes(text))
  if (isDenial(value)) throw new Error(value.message)
  return value
}

function refusal(body: Uint8Array | string): string {
  const value = parseJson(typeof body === 'string' ? bytes(body) : body)
  if (!isDenial(value)) throw new Error('the body was read')
  expect(value.reason).toBe('json_invalid')
  return value.message
}

/** The value as `JSON.parse` would have made it. */
function plain(value: JsonValue): unknown {
  if (isArray(value)) return value.map(plain)
  if (isObject(value)) {
    const object: Record<string, unknown> = {}
    for (const [name, member] of value) {
      Object.defineProperty(object, name, {
        value: plain(member),
        enumerable: true,
        configurable: true,
        writable: true,
      })
    }
    return object
  }
  return typeof value === 'object' && value !== null ? value.value : value
}

describe('what is read', () => {
  test.each([
    ['{}'],
    [' \t\r\n{ "a" : 1 } \n'],
    ['{"a":[],"b":{},"c":[{}],"d":[[]]}'],
    ['{"a":[true,false,null]}'],
    ['{"":0}'],
    ['{"a":[0,-0,-1,1.5,-1.5e3,1E+2,1e-2,0.1,123456789012345,1234567890123456,0e1,1e-400]}'],
    ['{"a":"\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\u00e9\\uD83D\\uDE00"}'],
    ['{"a":"é 日本語 😀 \u2028 \u007f \u0085 \ufffe"}'],
    ['{"a":"\\\\ud800 is no escape"}'],
    ['{"a":"a string that is longer than the short run, and \\n has an escape in its middle"}'],
    [`{"a":"${'x'.repeat(100_000)}"}`],
  ])('%s, as JSON.parse does', (text) => {
    expect(plain(read(text))).toEqual(JSON.parse(text))
  })

  test('any object that JSON can spell, as JSON.parse does', () => {
    const object = fc.dictionary(fc.string({ unit: 'grapheme' }), fc.jsonValue({ maxDepth: 5 }))
    fc.assert(
      fc.property(object, fc.constantFrom(undefined, 1, '\t'), (value, indent) => {
        const text = JSON.stringify(value, undefined, indent)
        const parsed = parseJson(bytes(text))
        // JSON.stringify escapes the half pairs that a string may hold; those are refused.
        if (isDenial(parsed)) expect(text).toMatch(/\\ud[89a-f]/)
        else expect(plain(parsed)).toEqual(JSON.parse(text))
      }),
      { numRuns: runs(500) },
    )
  })

  test('a name that means something to JavaScript is a name', () => {
    const body = read('{"__proto__":{"admin":true},"constructor":1,"toString":2}')
    expect([...body.keys()]).toEqual(['__proto__', 'constructor', 'toString'])
  })

  test('whether a number was spelt as an integer', () => {
    const numbers = read('{"a":1,"b":1.0,"c":1e2,"d":-7,"e":12345678901234567890}')
    const spelt = [...numbers].map(([name, value]) => [name, !isArray(value) && value])
    expect(spelt).toEqual([
      ['a', { value: 1, integer: true }],
      ['b', { value: 1, integer: false }],
      ['c', { value: 100, integer: false }],
      ['d', { value: -7, integer: true }],
      ['e', { value: 12345678901234567000, integer: true }],
    ])
  })
})

describe('what is refused', () => {
  test.each([
    ['', 'no object at character 0'],
    ['   ', 'no object at character 3'],
    ['[]', 'no object at character 0'],
    ['"a"', 'no object'],
    ['1', 'no object'],
    ['null', 'no object'],
    ['{', 'no name'],
    ['{"a"', 'no colon'],
    ['{"a":', 'an early end'],
    ['{"a":1', 'neither a comma nor the end of an object'],
    ['{"a":1,', 'no name'],
    ['{"a":1,}', 'no name'],
    ['{,"a":1}', 'no name'],
    ['{a:1}', 'no name'],
    ["{'a':1}", 'no name'],
    ['{"a" 1}', 'no colon'],
    ['{"a"::1}', 'no value'],
    ['{"a":1 "b":2}', 'neither a comma nor the end of an object'],
    ['{"a":1}}', 'something after the object'],
    ['{"a":1}{"a":1}', 'something after the object'],
    ['{"a":1}\0', 'something after the object'],
    ['{"a":1} // no', 'something after the object'],
    ['{/* no */"a":1}', 'no name'],
    ['{"a":[1,]}', 'no value'],
    ['{"a":[,1]}', 'no value'],
    ['{"a":[1 2]}', 'neither a comma nor the end of an array'],
    ['{"a":[1', 'neither a comma nor the end of an array'],
    ['{"a":[1}', 'neither a comma nor the end of an array'],
    ['{"a":tru}', 'an unknown word'],
    ['{"a":True}', 'no value'],
    ['{"a":nul}', 'an unknown word'],
    ['{"a":truefalse}', 'neither a comma'],
    ['{"a":NaN}', 'no value'],
    ['{"a":Infinity}', 'no value'],
    ['{"a":-Infinity}', 'no value'],
    ['{"a":undefined}', 'no value'],
    ['{"a":01}', 'neither a comma'],
    ['{"a":-01}', 'neither a comma'],
    ['{"a":00}', 'neither a comma'],
    ['{"a":+1}', 'no value'],
    ['{"a":.5}', 'no value'],
    ['{"a":1.}', 'neither a comma'],
    ['{"a":1.e3}', 'neither a comma'],
    ['{"a":1e}', 'neither a comma'],
    ['{"a":1e+}', 'neither a comma'],
    ['{"a":-}', 'no value'],
    ['{"a":0x10}', 'neither a comma'],
    ['{"a":1_000}', 'neither a comma'],
    ['{"a":1e400}', 'a number that is too large'],
    ['{"a":-1e400}', 'a number that is too large'],
    ['{"a":"x}', 'a string without end'],
    ['{"a":"x\\', 'a string without end'],
    ['{"a":"x\\"}', 'a string without end'],
    ['{"a":"\n"}', 'a control character'],
    ['{"a":"\t"}', 'a control character'],
    ['{"a":"\0"}', 'a control character'],
    ['{"a":"a string that is longer than the short run\u001f"}', 'a control character'],
    ['{"a":"\\n\u0001"}', 'a control character'],
    ['{"a":"\\x41"}', 'an unknown escape'],
    ['{"a":"\\u12"}', 'an unknown escape'],
    ['{"a":"\\u12G4"}', 'an unknown escape'],
    ['{"a":"\\U0041"}', 'an unknown escape'],
    ['{"a":"\\\'"}', 'an unknown escape'],
    ['{"a":"\\ud800"}', 'half a surrogate pair'],
    ['{"a":"\\uDC00"}', 'half a surrogate pair'],
    ['{"a":"\\ud800\\ud800"}', 'half a surrogate pair'],
    ['{"a":"\\ud83dx\\ude00"}', 'half a surrogate pair'],
    ['{"\\ud800":1}', 'half a surrogate pair'],
    ['\ufeff{"a":1}', 'a byte order mark'],
    ['{\u00a0"a":1}', 'no name'],
    ['{\f"a":1}', 'no name'],
  ])('%j', (text, what) => {
    expect(refusal(text)).toContain(what)
  })

  test.each([
    ['UTF-16 little endian', Buffer.from('{"a":1}', 'utf16le'), 'no name'],
    ['an overlong slash', [0x7b, 0x22, 0xc0, 0xaf, 0x22, 0x3a, 0x31, 0x7d], 'not UTF-8'],
    ['a surrogate in UTF-8', [0x7b, 0x22, 0xed, 0xa0, 0x80, 0x22, 0x3a, 0x31, 0x7d], 'not UTF-8'],
    ['beyond U+10FFFF', [0x7b, 0x22, 0xf4, 0x90, 0x80, 0x80, 0x22, 0x3a, 0x31, 0x7d], 'not UTF-8'],
    ['a continuation byte alone', [0x7b, 0x22, 0x80, 0x22, 0x3a, 0x31, 0x7d], 'not UTF-8'],
    ['a character cut off', [0x7b, 0x22, 0xe6, 0x97, 0x22, 0x3a, 0x31, 0x7d], 'not UTF-8'],
    ['Latin-1', [0x7b, 0x22, 0xe9, 0x22, 0x3a, 0x31, 0x7d], 'not UTF-8'],
  ])('%s', (_, body, what) => {
    expect(refusal(Uint8Array.from(body))).toContain(what)
  })

  test.each([
    ['{"a":1,"a":2}'],
    ['{"a":1,"\\u0061":2}'],
    ['{"model":"x","\\u006dodel":"y"}'],
    ['{"a":{"b":1,"c":{"d":1,"d":1}}}'],
    ['{"a":[{"b":1,"b":1}]}'],
    ['{"__proto__":1,"__proto__":2}'],
    ['{"":1,"":2}'],
    ['{"é":1,"\\u00e9":2}'],
  ])('a name twice in one object: %s', (text) => {
    expect(refusal(text)).toContain('a name for the second time')
  })

  test('the same name in two objects is no duplicate', () => {
    expect(plain(read('{"a":{"a":1},"b":{"a":1}}'))).toEqual({ a: { a: 1 }, b: { a: 1 } })
  })

  test('no refusal tells what the body says', () => {
    const secret = 'sk-canary-7f3a'
    for (const text of [
      `{"${secret}":1,"${secret}":1}`,
      `{"a":"${secret}\\q"}`,
      `{"a":${secret}}`,
      `{"a":"${secret}`,
      `${secret}`,
    ]) {
      expect(refusal(text)).not.toContain('canary')
    }
  })
})

describe('the bounds', () => {
  const nested = (depth: number): string => `{"a":${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}}`

  test('nesting of 64 is read, of 65 refused', () => {
    expect(isDenial(parseJson(bytes(nested(64))))).toBe(false)
    expect(refusal(nested(65))).toContain('nesting deeper than 64')
    expect(refusal(`{"a":${'{"a":'.repeat(64)}1${'}'.repeat(65)}`)).toContain('nesting deeper')
  })

  test('eight million opening brackets are refused at the 65th', () => {
    expect(refusal(`{"a":${'['.repeat(8_000_000)}`)).toContain('at character 68')
  })

  test('100,000 values are read, one more is refused', () => {
    const list = (count: number): string => `{"a":[${Array(count).fill('1').join(',')}]}`
    expect(isDenial(parseJson(bytes(list(99_998))))).toBe(false)
    expect(refusal(list(99_999))).toContain('more than 100000 values')
  })

  test('10,000 names in one object are read, one more is refused', () => {
    const names = (count: number): string =>
      `{${Array.from({ length: count }, (_, index) => `"n${String(index)}":1`).join(',')}}`
    expect(isDenial(parseJson(bytes(names(10_000))))).toBe(false)
    expect(refusal(names(10_001))).toContain('more than 10000 names')
  })

  test('a number of 256 characters is read, of 257 refused', () => {
    const digits = (count: number): string => `{"a":0.${'1'.repeat(count - 2)}}`
    expect(isDenial(parseJson(bytes(digits(256))))).toBe(false)
    expect(refusal(digits(257))).toContain('a number that is too long')
  })
})

describe('what a rewrite through doubles leaves as it is', () => {
  test.each([
    ['{"a":9007199254740991}', true],
    ['{"a":-9007199254740991}', true],
    ['{"a":9007199254740993}', false],
    ['{"a":9007199254740992}', false],
    ['{"a":[{"b":[12345678901234567890]}]}', false],
    ['{"a":1.0}', true],
    ['{"a":0.1}', true],
    ['{"a":1e300}', true],
    ['{"a":"9007199254740993"}', true],
  ])('%s: %s', (text, survives) => {
    expect(survivesRewrite(read(text))).toBe(survives)
  })
})
