import { describe, expect, test } from 'vitest'
import type { Category } from '../../src/inspection/finding.js'
import { createDetectors } from '../../src/inspection/inspect.js'
import { renderingsOf } from '../../src/inspection/renderings.js'
import { stepsOf } from './hits.js'

const phrases = ['red heron', 'red red red heron', 'aaaaaaaaab', '中文中文字']
const detectors = createDetectors({
  injection: { action: 'block', threshold: 0.9, untrustedThreshold: 0.7 },
  controlTokens: { action: 'block' },
  secrets: { action: 'block' },
  personalData: { action: 'block', kinds: ['credit_card', 'iban', 'us_ssn', 'email', 'phone'] },
  prohibited: [{ name: 'list', action: 'block', phrases, patterns: ['(a|aa)+$'] }],
})

/**
 * Beginnings of what each detector looks for, in the order of `createDetectors`: repeated, they are where a careless
 * reader starts again at each of them.
 */
const beginnings: readonly (readonly [Category, readonly string[]])[] = [
  [
    'injection',
    ['ignore all ', 'ignore all previous ', 'system prompt ', '\nsystem', '\u{e0061}', '\ufe01'],
  ],
  ['control_tokens', ['<|im_', '<|', '[inst']],
  [
    'secrets',
    [
      ...['ghp_', 'ghp_a1', 'sk-', 'sk-ant-', 'AKIA', 'eyJ', 'eyJ.', 'eyJhbGciOi.', '://'],
      ...['-----BEGIN ', '-----BEGIN PRIVATE KEY-----', '-----BEGIN PRIVATE KEY-----a1'],
      ...['http://a:', 'http://a:b1@', 'password', 'password=', 'password: "a1', 'token_'],
    ],
  ],
  [
    'personal_data',
    [
      ...['4111 ', '4111', 'a4111111111111111', '1 ', '1-', '123-45-', '+1 ', '+1', '(212) ', '('],
      ...['@', 'a@', 'a@b.', 'a@b.co', '.@', 'DE89', 'DE89 3704 '],
    ],
  ],
  ['prohibited', ['red ', 'red red', 'aaaaaaaaa', '中文']],
  ['prohibited', ['aa']],
]

test('every detector has hostile beginnings', () => {
  expect(beginnings.map(([category]) => category)).toEqual(
    detectors.map(({ category }) => category),
  )
  for (const [, listed] of beginnings) expect(listed.length).toBeGreaterThan(0)
})

/** What normalisation is about, and no detector. */
const common = ['a', ' ', '=', '-', '中文', '😀', '\u200b', 'e\u0301', 'ﷺ', '\n', '\\', '\\u00']
const hostile: readonly string[] = [...common, ...beginnings.flatMap(([, listed]) => listed)]

// A power of two, so that no unit is cut differently in the two sizes.
const REPEATS = 4096

describe.each(detectors)('the $category detector', (detector) => {
  test.each(hostile)(
    'takes at most twice the steps for twice the text, and few for each unit: %j',
    (unit) => {
      const text = unit.repeat(REPEATS)
      const steps = stepsOf(detector, text)
      const twice = stepsOf(detector, text + text)
      expect(twice).toBeLessThanOrEqual(2 * steps + 1000)
      // The worst is an address with `@` after `@`: each looks 64 units back.
      expect(steps).toBeLessThanOrEqual(70 * text.length)
    },
  )
})

test.each([...hostile, '\\n', '\\\\n', '\\u005c', '\\\\u005cn'])(
  'the renderings of a text are together at most six times as long: %j',
  (unit) => {
    const text = unit.repeat(REPEATS)
    const joints = Array.from({ length: REPEATS / 2 }, (_, index) => 2 * index)
    let units = 0
    for (const rendering of renderingsOf({ provenance: 'user', text, joints })) {
      units += rendering.text.length
    }
    expect(units).toBeLessThanOrEqual(6 * text.length)
  },
)
