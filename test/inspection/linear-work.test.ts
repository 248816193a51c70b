import { describe, expect, test } from 'vitest'
import { renderingsOf } from '../../src/inspection/renderings.js'
import { detectorRows, detectors } from './detector-rows.js'
import { stepsOf } from './hits.js'

test('every detector has hostile beginnings', () => {
  const without = detectorRows.filter(({ beginnings }) => beginnings.length === 0)
  expect(without.map(({ name }) => name)).toEqual([])
})

/** What normalisation is about, and no detector. */
const common = ['a', ' ', '=', '-', '中文', '😀', '\u200b', 'e\u0301', 'ﷺ', '\n', '\\', '\\u00']
const hostile: readonly string[] = [
  ...common,
  ...detectorRows.flatMap(({ beginnings }) => beginnings),
]

// A power of two, so that no unit is cut differently in the two sizes.
const REPEATS = 4096

describe.each(detectors)('the $name detector', (detector) => {
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
