import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { member, parseStrictObject } from '../../src/identity/strict-json.js'

const parse = (text: string) => parseStrictObject(Buffer.from(text), 8)

describe('a strict JSON object', () => {
  test('is what JSON.parse makes of it, for any object with distinct names', () => {
    const names = fc.string({ unit: 'binary', maxLength: 8 }).filter((name) => name !== '__proto__')
    const { object } = fc.letrec((tie) => ({
      value: fc.oneof({ maxDepth: 4 }, fc.jsonValue({ maxDepth: 0 }), tie('object'), tie('array')),
      array: fc.array(tie('value'), { maxLength: 4 }),
      object: fc.dictionary(names, tie('value'), { maxKeys: 4, noNullPrototype: true }),
    }))
    fc.assert(
      fc.property(object, fc.constantFrom(undefined, 1, '\t'), (value, space) => {
        const text = JSON.stringify(value, undefined, space)
        expect(parseStrictObject(Buffer.from(text), 64)).toEqual(JSON.parse(text))
      }),
    )
  })

  test('never comes out of a text that names a member twice, however it is escaped', () => {
    const escape = (name: string, mask: number) =>
      [...name]
        .map((char, at) =>
          (mask >> at) % 2 === 1 ? `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}` : char,
        )
        .join('')
    const name = fc.stringMatching(/^[a-z]{1,8}$/)
    const mask = fc.nat({ max: 255 })
    fc.assert(
      fc.property(name, mask, mask, (repeated, first, second) => {
        const text = `{"${escape(repeated, first)}":1,"other":[{}],"${escape(repeated, second)}":2}`
        expect(JSON.parse(text)).toHaveProperty(repeated)
        expect(parse(text)).toBeUndefined()
      }),
    )
  })

  test('may use one name in two objects', () => {
    expect(parse('{"a":{"b":1},"c":{"b":2},"b":[{"b":3},{"b":4}]}')).toBeDefined()
  })

  test('may hold the text of a name as a value', () => {
    expect(parse('{"a":"b","b":"a","c":["a","a","a:"]}')).toBeDefined()
    expect(parse('{"a":"\\"a\\":","b":"\\\\"}')).toEqual({ a: '"a":', b: '\\' })
  })

  test.each([
    ['a name twice', '{"iss":1,"iss":2}'],
    ['a name twice with space', '{"iss" : 1 , "iss"\t:\n2}'],
    ['a name twice, once escaped', '{"iss":1,"\\u0069ss":2}'],
    ['a name twice in depth', '{"a":[{"b":{"c":1,"c":2}}]}'],
    ['__proto__', '{"__proto__":{"iss":"x"}}'],
    ['__proto__, escaped', '{"\\u005f_proto__":{}}'],
    ['a BOM', '\ufeff{}'],
    ['an array', '[{}]'],
    ['null', 'null'],
    ['a string', '"{}"'],
    ['nothing', ''],
    ['two objects', '{}{}'],
    ['something behind', '{} x'],
    ['a comma at the end', '{"a":1,}'],
    ['a comment', '{"a":1/**/}'],
    ['single quotes', "{'a':1}"],
    ['NaN', '{"exp":NaN}'],
    ['an unclosed string', '{"a":"'],
    ['an unclosed escape', '{"a":"\\'],
    ['a bad escape in a name', '{"\\x":1}'],
    ['a control character in a string', '{"a":"\n"}'],
    ['closing what was never opened', '}]}{"a":1}'],
  ])('is not %s', (_, text) => {
    expect(parse(text)).toBeUndefined()
  })

  test.each([
    ['a byte that is no UTF-8', [0xff]],
    ['an overlong encoding', [0xc0, 0xaf]],
    ['an encoded surrogate', [0xed, 0xa0, 0x80]],
    ['a cut character', [0xe2, 0x82]],
  ])('does not hold %s', (_, bytes) => {
    const text = Buffer.concat([Buffer.from('{"a":"'), Buffer.from(bytes), Buffer.from('"}')])
    expect(parseStrictObject(text, 8)).toBeUndefined()
  })

  test.each(['utf16le', 'latin1'] as const)('is not %s', (encoding) => {
    expect(parseStrictObject(Buffer.from('{"a":"é"}', encoding), 8)).toBeUndefined()
  })

  test('is as deep as allowed and no deeper', () => {
    const nested = (depth: number) => `{"a":${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}}`
    expect(parse(nested(8))).toBeDefined()
    expect(parse(nested(9))).toBeUndefined()
    expect(parse(nested(100_000))).toBeUndefined()
  })

  test('has no member that it only inherits', () => {
    const object = parse('{"a":1}') ?? {}
    expect(member(object, 'a')).toBe(1)
    for (const name of ['constructor', 'toString', '__proto__', 'hasOwnProperty']) {
      expect(member(object, name)).toBeUndefined()
    }
  })
})
