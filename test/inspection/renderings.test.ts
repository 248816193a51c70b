import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { renderingsOf } from '../../src/inspection/renderings.js'
import { joinParts } from '../../src/segment.js'

const textsOf = (text: string, joints?: readonly number[]): readonly string[] =>
  [...renderingsOf({ provenance: 'user', text, ...(joints && { joints }) })].map(
    (rendering) => rendering.text,
  )

describe('a text is read', () => {
  test('once where it is one part without a backslash', () => {
    expect(textsOf('plain "text"\n')).toEqual(['plain "text"\n'])
  })

  test('with and without what stands between its parts', () => {
    const { text, joints } = joinParts(['', 'a', '', 'b\n', 'c'])
    expect(textsOf(text, joints)).toEqual(['\na\n\nb\n\nc', 'ab\nc'])
  })

  test('with and without its escapes', () => {
    expect(textsOf(String.raw`{"a":"x\n\u0049\"\/\\y\'\x41"}`)).toEqual([
      String.raw`{"a":"x\n\u0049\"\/\\y\'\x41"}`,
      `{"a":"x\nI"/\\y'A"}`,
    ])
  })

  test('without the escapes of JSON inside JSON', () => {
    const inner = JSON.stringify({ body: 'Hi\nthere' })
    expect(textsOf(JSON.stringify({ text: inner })).at(-1)).toContain('Hi\nthere')
  })

  test('as it is where a backslash begins no escape', () => {
    expect(textsOf(String.raw`C:\dir \u12 \q \ `)).toEqual([String.raw`C:\dir \u12 \q \ `])
  })

  test('with an escape that was cut in two parts', () => {
    const { text, joints } = joinParts(['x\\', 'ny'])
    expect(textsOf(text, joints)).toEqual(['x\\\nny', 'x\\ny', 'x\ny'])
  })
})

// Short parts of what renderings are made of.
const part = fc
  .array(fc.constantFrom('a', '\\', 'n', 'u0041', '\n', 'x4', '"'))
  .map((units) => units.join(''))

test('every rendering leads back into the text, in order, and its units to where they came from', () => {
  fc.assert(
    fc.property(fc.array(part, { minLength: 1, maxLength: 4 }), (parts) => {
      const { text, joints } = joinParts(parts)
      for (const rendering of renderingsOf({ provenance: 'user', text, joints })) {
        let before = 0
        for (let at = 0; at < rendering.text.length; at++) {
          const [start, end] = rendering.sourceSpan(at, at + 1)
          expect(start).toBeGreaterThanOrEqual(before)
          expect(end).toBeGreaterThan(start)
          expect(end).toBeLessThanOrEqual(text.length)
          const source = text.slice(start, end)
          if (source.length === 1) expect(source).toBe(rendering.text.charAt(at))
          else expect(source.startsWith('\\')).toBe(true)
          before = end
        }
      }
    }),
  )
})

test('there are at most six renderings, none longer than the text', () => {
  const { text, joints } = joinParts(['\\\\\\\\\\\\\\\\n', '\\u005c\\u005c\\u005cn'])
  const texts = textsOf(text, joints)
  expect(texts.length).toBeLessThanOrEqual(6)
  for (const each of texts) expect(each.length).toBeLessThanOrEqual(text.length)
})
