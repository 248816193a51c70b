import { describe, expect, test } from 'vitest'
import type { Detector } from '../../src/inspection/detector.js'
import {
  checkPattern,
  createProhibitedDetectors,
} from '../../src/inspection/detectors/prohibited.js'
import type { ProhibitedRule } from '../../src/inspection/rules.js'
import { hitsOf } from './hits.js'

/** All detectors of the lists as one. */
function createProhibitedDetector(lists: readonly ProhibitedRule[]): Detector {
  const detectors = createProhibitedDetectors(lists)
  return {
    name: 'prohibited',
    category: 'prohibited',
    detect: (view, segment, report) =>
      detectors.reduce((steps, each) => steps + each.detect(view, segment, report), 0),
  }
}

const detector = createProhibitedDetector([
  {
    name: 'projects',
    action: 'block',
    phrases: ['Project Nightfall', '夜幕计划'],
    patterns: ['nf-\\d{4}'],
  },
  { name: 'rivals', action: 'flag', phrases: ['Acme Corp'], patterns: [] },
])
const seen = (text: string): readonly string[] =>
  hitsOf(detector, text).map((hit) => `${hit.rule}:${hit.text}`)

describe('prohibited content is found', () => {
  test.each([
    ['a phrase', 'about Project Nightfall.', 'projects:Project Nightfall'],
    ['in other case and spacing', 'about PROJECT  NIGHTFALL.', 'projects:PROJECT  NIGHTFALL'],
    ['in look-alikes', 'about Рrоjесt Nіghtfаll.', 'projects:Рrоjесt Nіghtfаll'],
    ['cut by a soft hyphen', 'Project Night\u00adfall', 'projects:Project Night\u00adfall'],
    ['in a script without spaces', '关于夜幕计划的文件', 'projects:夜幕计划'],
    ['a phrase of another list', 'buy from Acme Corp!', 'rivals:Acme Corp'],
    ['a pattern', 'ticket NF-2041 is open', 'projects:NF-2041'],
    ['a pattern in full-width letters', 'ｎｆ－２０４１', 'projects:ｎｆ－２０４１'],
  ])('%s', (_name, text, expected) => {
    expect(seen(text)).toEqual([expected])
  })

  test('but not inside a longer word', () => {
    expect(seen('Project Nightfalls, Acme Corporation')).toEqual([])
  })
})

describe('a pattern can be used', () => {
  test.each(['nf-\\d{4}', '(a|aa)+$', '\\bfoo\\b.{0,50}\\bbar\\b', '\\p{Han}{3}'])(
    '%s',
    (pattern) => {
      expect(checkPattern(pattern)).toBeUndefined()
    },
  )
})

describe('a pattern cannot be used', () => {
  test.each([
    ['(?=a)b', 'a pattern in RE2 syntax (no look-around, no back-references)'],
    ['(a)\\1', 'a pattern in RE2 syntax (no look-around, no back-references)'],
    ['(a', 'a pattern in RE2 syntax (no look-around, no back-references)'],
    ['a*', 'a pattern that does not match the empty text'],
    ['', 'a pattern that does not match the empty text'],
    ['(a{100}){5}', 'a simpler pattern: its repeats multiply'],
    [
      '((a{1,99}){1,99}){1,99}',
      'a pattern whose repeats come to at most 1,000, also where one stands in another',
    ],
    ['a{1001}', 'a pattern whose repeats come to at most 1,000, also where one stands in another'],
    ['x'.repeat(501), 'a pattern of at most 500 characters'],
  ])('%s', (pattern, expected) => {
    expect(checkPattern(pattern)).toBe(expected)
  })
})

test('a match of the empty text inside a text is reported only a few times', () => {
  const anchored = createProhibitedDetector([
    { name: 'x', action: 'block', phrases: [], patterns: ['\\b'] },
  ])
  expect(hitsOf(anchored, 'word '.repeat(1000)).length).toBeLessThanOrEqual(16)
})
