import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { compilePattern, isPattern, matches } from '../../src/ratelimit/pattern.js'
import { runs } from '../runs.js'

const matchesText = (pattern: string, text: string): boolean =>
  matches(compilePattern(pattern), text)

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

  test('does not go back in the text', () => {
    let looks = 0
    const letters = `${'a'.repeat(2000)}b`
    const text = {
      length: letters.length,
      startsWith: (start: string) => letters.startsWith(start),
      endsWith: (end: string) => letters.endsWith(end),
      charCodeAt: (at: number) => {
        looks += 1
        return letters.charCodeAt(at)
      },
    } as string
    expect(matches(compilePattern(`*${'a'.repeat(1000)}c*${'a'.repeat(1000)}c*`), text)).toBe(false)
    expect(looks).toBe(letters.length)
  })
})
