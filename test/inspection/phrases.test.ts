import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { compileLiterals } from '../../src/inspection/aho-corasick.js'
import { compilePhrases, isSearchable } from '../../src/inspection/phrases.js'
import { foldText } from '../../src/inspection/view.js'
import { runs } from '../runs.js'

function find(phrases: readonly string[], text: string, lookAlikeDigits = false): string[] {
  const folded = foldText(text)
  const found: string[] = []
  compilePhrases(phrases, { lookAlikeDigits }).scan(folded, (phrase, start, end) => {
    found.push(`${String(phrase)}:${folded.slice(start, end)}`)
  })
  return found
}

describe('literals', () => {
  test('are found exactly where a search for each of them finds it', () => {
    const word = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), minLength: 1, maxLength: 4 })
    fc.assert(
      fc.property(
        fc.uniqueArray(word, { minLength: 1, maxLength: 8 }),
        fc.string({ unit: fc.constantFrom('a', 'b', 'c', 'x'), maxLength: 60 }),
        (literals, text) => {
          const found = new Set<string>()
          compileLiterals(literals).scan(text, (pattern, end) => {
            found.add(`${String(pattern)}@${String(end)}`)
          })
          const expected = new Set<string>()
          literals.forEach((literal, pattern) => {
            for (let at = text.indexOf(literal); at !== -1; at = text.indexOf(literal, at + 1)) {
              expected.add(`${String(pattern)}@${String(at + literal.length)}`)
            }
          })
          expect(found).toEqual(expected)
        },
      ),
      { numRuns: runs(300) },
    )
  })

  test('take at most three steps a unit, whatever the text and the list', () => {
    const word = fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 1, maxLength: 12 })
    fc.assert(
      fc.property(fc.array(word, { minLength: 1 }), fc.array(word), (literals, parts) => {
        const text = parts.join('')
        const steps = compileLiterals(literals).scan(text, () => undefined)
        expect(steps).toBeLessThanOrEqual(3 * text.length)
      }),
    )
  })

  test('are found in a list of many thousand', () => {
    const literals = Array.from({ length: 20_000 }, (_, number) => `w${String(number * 7919)}z`)
    const found: number[] = []
    compileLiterals(literals).scan(`..${literals[12_345] ?? ''}..`, (pattern) =>
      found.push(pattern),
    )
    expect(found).toEqual([12_345])
  })
})

describe('phrases', () => {
  test('match whole words, whatever stands between them', () => {
    expect(find(['pipe bomb'], 'a PIPE--bomb, a pipe\n\n  bomb.')).toEqual([
      '0:pipe--bomb',
      '0:pipe\n\n  bomb',
    ])
    expect(find(['pipe bomb'], 'pipe bombs, bagpipe bomb, pipebomb')).toEqual([])
  })

  test('match at the beginning and the end of a text', () => {
    expect(find(['alpha', 'omega'], 'alpha omega')).toEqual(['0:alpha', '1:omega'])
  })

  test('match longer words when they end in a star', () => {
    expect(find(['instruct*'], 'instructions, instructs; reinstruct')).toEqual([
      '0:instruct',
      '0:instruct',
    ])
  })

  test('match within scripts that put no spaces between words', () => {
    expect(find(['忽略', '무시'], '请忽略之前的. 지시를 무시하고')).toEqual(['0:忽略', '1:무시'])
  })

  test('reach over any white space', () => {
    for (const gap of [' '.repeat(16), '\n'.repeat(40), `--${' \t\r\n'.repeat(2000)}--`]) {
      expect(find(['pipe bomb now'], `pipe${gap}bomb${gap}now`)).toEqual([
        `0:pipe${gap}bomb${gap}now`,
      ])
    }
  })

  test('do not reach over a line of signs', () => {
    expect(find(['pipe bomb'], `pipe ${'-'.repeat(16)} bomb`)).toEqual([])
    expect(find(['pipe bomb'], `pipe ${'- '.repeat(16)}bomb`)).toEqual([])
    expect(find(['pipe bomb'], `pipe ${'-'.repeat(15)} bomb`)).toHaveLength(1)
  })

  test('begin right after a line of signs', () => {
    for (const line of ['-'.repeat(16), '-'.repeat(40), ' '.repeat(40)]) {
      expect(find(['pipe bomb'], `x${line}pipe bomb`)).toEqual(['0:pipe bomb'])
      expect(find(['pipe bomb'], `${line}pipe bomb`)).toEqual(['0:pipe bomb'])
    }
  })

  test('read digits as letters only where asked', () => {
    expect(find(['ignore all'], '1gn0r3 4ll', true)).toEqual(['0:1gn0r3 4ll'])
    expect(find(['ignore all'], '1gn0r3 4ll')).toEqual([])
  })

  test('are reported under each number when two are equal', () => {
    expect(find(['Secret', 'secret'], 'secret')).toEqual(['0:secret', '1:secret'])
  })

  test('of punctuation alone cannot be searched for', () => {
    expect(isSearchable('--!')).toBe(false)
    expect(isSearchable('\u200b')).toBe(false)
    expect(isSearchable('a-b')).toBe(true)
    expect(find(['!!', 'a'], '!! a !!')).toEqual(['1:a'])
  })
})
