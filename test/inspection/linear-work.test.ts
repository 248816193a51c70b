import { describe, expect, test } from 'vitest'
import type { Detector } from '../../src/inspection/detector.js'
import { createControlTokensDetector } from '../../src/inspection/detectors/control-tokens.js'
import { createInjectionDetector } from '../../src/inspection/detectors/injection.js'
import { createPersonalDataDetector } from '../../src/inspection/detectors/personal-data.js'
import { createProhibitedDetectors } from '../../src/inspection/detectors/prohibited.js'
import { createSecretsDetector } from '../../src/inspection/detectors/secrets.js'
import { stepsOf } from './hits.js'

const phrases = ['red heron', 'red red red heron', 'aaaaaaaaab', '中文中文字']
const detectors: readonly Detector[] = [
  createInjectionDetector(),
  createControlTokensDetector(),
  createSecretsDetector(),
  createPersonalDataDetector(['credit_card', 'iban', 'us_ssn', 'email', 'phone']),
  ...createProhibitedDetectors([
    { name: 'list', action: 'block', phrases, patterns: ['(a|aa)+$'] },
  ]),
]

/** Beginnings of what a detector looks for, over and over: where a careless reader starts again at each of them. */
const hostile: readonly string[] = [
  ...['a', ' ', '=', '-', '中文', '😀', '\u200b', 'e\u0301', '\u{e0061}', 'ﷺ', '\n'],
  ...[
    'red ',
    'ignore all ',
    'ignore all previous ',
    'system prompt ',
    '<|im_',
    '<|',
    '[inst',
    '\nsystem',
  ],
  ...[
    'ghp_',
    'ghp_a1',
    'sk-',
    'sk-ant-',
    'AKIA',
    'eyJ',
    'eyJ.',
    'eyJhbGciOi.',
    '-----BEGIN ',
    '-----BEGIN PRIVATE KEY-----',
  ],
  ...[
    '-----BEGIN PRIVATE KEY-----a1',
    '://',
    'http://a:',
    'http://a:b1@',
    'password',
    'password=',
    'password: "a1',
    'token_',
  ],
  ...[
    '4111 ',
    '4111',
    '1 ',
    '1-',
    '123-45-',
    '+1 ',
    '+1',
    '(212) ',
    '(',
    '@',
    'a@',
    'a@b.',
    'a@b.co',
    '.@',
    'DE89',
    'DE89 3704 ',
  ],
]

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
