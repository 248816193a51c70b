import { RE2JS, RE2JSSyntaxException } from 're2js'
import type { Detector } from '../detector.js'
import { compilePhrases } from '../phrases.js'
import type { ProhibitedRule } from '../rules.js'

/** Longest pattern; the time of a match grows with pattern times text. */
export const MAX_PATTERN_LENGTH = 500
/**
 * Instructions of the compiled pattern: each may cost a step for each character. `(a?){50}a{50}` is short and took
 * fifty times as long as a plain pattern.
 */
const MAX_PROGRAM_SIZE = 128
/** Occurrences of one pattern in one segment that are reported; the first decides, more only count. */
const MAX_MATCHES = 16

/**
 * Can the pattern be used? Patterns have RE2's syntax: no look-around, no back-references, hence linear time.
 *
 * @returns what is wrong, for a configuration fault; undefined when it is fine
 */
export function checkPattern(pattern: string): string | undefined {
  if (pattern.length > MAX_PATTERN_LENGTH) {
    return `a pattern of at most ${String(MAX_PATTERN_LENGTH)} characters`
  }
  try {
    const compiled = RE2JS.compile(pattern, RE2JS.CASE_INSENSITIVE)
    if (compiled.programSize() > MAX_PROGRAM_SIZE) return 'a simpler pattern: its repeats multiply'
    if (compiled.matches('')) return 'a pattern that does not match the empty text'
    return undefined
  } catch (error) {
    if (error instanceof RE2JSSyntaxException && error.message.includes('repeat count')) {
      return 'a pattern whose repeats come to at most 1,000, also where one stands in another'
    }
    return 'a pattern in RE2 syntax (no look-around, no back-references)'
  }
}

/**
 * The operator's own lists: phrases word by word in the folded form, patterns in the plain form, regardless of
 * case. The rule of a hit is the name of the list. A detector for all phrases and one for each pattern, so that
 * the time bound is looked at between two patterns.
 *
 * @param lists every pattern passed `checkPattern`
 */
export function createProhibitedDetectors(lists: readonly ProhibitedRule[]): readonly Detector[] {
  const phrases = lists.flatMap(({ name, phrases: listed }) =>
    listed.map((phrase) => ({ rule: name, phrase })),
  )
  const patterns = lists.flatMap(({ name, patterns: written }) =>
    written.map((pattern) => ofPattern(name, pattern)),
  )
  return phrases.length === 0 ? patterns : [ofPhrases(phrases), ...patterns]
}

function ofPhrases(
  phrases: readonly { readonly rule: string; readonly phrase: string }[],
): Detector {
  const matcher = compilePhrases(phrases.map(({ phrase }) => phrase))
  return {
    name: 'prohibited-phrases',
    category: 'prohibited',
    detect: (view, _segment, report) =>
      matcher.scan(view.folded, (phrase, start, end) => {
        report({ rule: phrases[phrase]?.rule ?? '', level: 'folded', start, end, score: 1 })
      }),
  }
}

function ofPattern(rule: string, written: string): Detector {
  const pattern = RE2JS.compile(written, RE2JS.CASE_INSENSITIVE)
  return {
    name: 'prohibited-pattern',
    category: 'prohibited',
    detect: (view, _segment, report) => {
      const matches = pattern.matcher(view.plain)
      for (let count = 0; count < MAX_MATCHES && matches.find(); count++) {
        report({ rule, level: 'plain', start: matches.start(), end: matches.end(), score: 1 })
      }
      return view.plain.length
    },
  }
}
