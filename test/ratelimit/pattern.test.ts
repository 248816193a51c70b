import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { compilePattern, isPattern, matches } from '../../src/ratelimit/pattern.js'
import { runs } from '../runs.js'

const matchesText = (pattern: string, text: string): boolean =>
  matches(compilePattern(pattern), text, { left: Infinity })

describe('a pattern', () => {
  test.each([
    ['foo*', 'foo', true],
    ['foo*', 'foobar', true],
    ['foo*', 'fo', false],
    ['*foo', 'a foo', true],
    ['/api/*/action', '/api/123/action', true],
    ['/api/*/action', '/api//action', true],
    ['/api/*/action', '/api/1/other', false],
    ['/api/*/resource/*/action', '/api/v1/resource/7/action', true],
    ['/api/*/resource/*/action', '/api/v1/action', false],
    ['*', '', true],
    ['**', 'x', true],
    ['a*b*', 'ab', true],
    ['a.c*', 'abc', false],
  ])('%s and %s: %s', (pattern, text, expected) => {
    expect(matchesText(pattern, text)).toBe(expected)
  })

  test('lets no part count twice', () => {
    expect(matchesText('ab*ba', 'aba')).toBe(false)
    expect(matchesText('a*bc*c', 'abc')).toBe(false)
    expect(matchesText('*ab*ab*', 'aab')).toBe(false)
    expect(matchesText('*ab*ab*', 'abab')).toBe(true)
  })

  test('is found where its beginning stands once more before it', () => {
    expect(matchesText('*aab*', 'aaab')).toBe(true)
    expect(matchesText('*abac*', 'ababac')).toBe(true)
    expect(matchesText('*aabaaa*', 'aabaabaaa')).toBe(true)
  })

  test('is a text with a star', () => {
    expect(isPattern('a*b')).toBe(true)
    expect(isPattern('ab')).toBe(false)
  })

  test('matches what a regular expression with .* matches', () => {
    // Few letters, so that beginnings and ends overlap.
    const letters = (alphabet: readonly string[], maxLength: number) =>
      fc.array(fc.constantFrom(...alphabet), { maxLength }).map((parts) => parts.join(''))
    fc.assert(
      fc.property(letters(['a', 'b', '*'], 12), letters(['a', 'b'], 24), (beginning, text) => {
        const pattern = isPattern(beginning) ? beginning : `${beginning}*`
        const expected = new RegExp(`^${pattern.replaceAll('*', '.*')}$`, 's').test(text)
        expect(matchesText(pattern, text)).toBe(expected)
      }),
      { numRuns: runs(1000) },
    )
  })

  const letters = `${'a'.repeat(2000)}b`
  /** The letters, and how often one of them was looked at. */
  function watched(): { readonly text: string; readonly looks: () => number } {
    let looks = 0
    const text = {
      length: letters.length,
      startsWith: (start: string) => letters.startsWith(start),
      endsWith: (end: string) => letters.endsWith(end),
      charCodeAt: (at: number) => {
        looks += 1
        return letters.charCodeAt(at)
      },
    } as string
    return { text, looks: () => looks }
  }

  test('does not go back in the text, and says how much of it was looked at', () => {
    const part = 'a'.repeat(1000)
    for (const [pattern, expected] of [
      [`*${part}c*${part}c*`, false],
      [`*${part}*${part}*b`, true],
      [`*${part}*a*b`, true],
    ] as const) {
      const { text, looks } = watched()
      const left = { left: 10_000 }
      expect(matches(compilePattern(pattern), text, left)).toBe(expected)
      expect(looks()).toBe(10_000 - left.left)
      expect(looks()).toBeLessThanOrEqual(letters.length)
    }
  })

  test('looks at no more than it may, and says so', () => {
    const { text, looks } = watched()
    const left = { left: 1500 }
    const pattern = compilePattern(`*${'a'.repeat(1000)}*${'a'.repeat(1000)}*b`)
    expect(matches(pattern, text, left)).toBe(false)
    expect(left.left).toBe(-1)
    expect(looks()).toBe(1500)
    expect(matches(pattern, text, left)).toBe(false)
    expect(left.left).toBe(-1)
    expect(looks()).toBe(1500)
    const enough = { left: 2000 }
    expect(matches(pattern, text, enough)).toBe(true)
    expect(enough.left).toBe(0)
  })
})
