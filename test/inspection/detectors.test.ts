import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Detector } from '../../src/inspection/detector.js'
import type { Category } from '../../src/inspection/finding.js'
import { compileInspection, createDetectors } from '../../src/inspection/inspect.js'
import type { InspectionRules } from '../../src/inspection/rules.js'
import { createView } from '../../src/inspection/view.js'
import { read, root } from '../markdown.js'
import { detectorRows, detectors, everything } from './detector-rows.js'
import { findingsOf, hitsOf } from './hits.js'

const action = 'off'
const turnedOff: Readonly<Record<Category, InspectionRules>> = {
  injection: { ...everything, injection: { ...everything.injection, action } },
  control_tokens: { ...everything, controlTokens: { action } },
  secrets: { ...everything, secrets: { action } },
  personal_data: { ...everything, personalData: { ...everything.personalData, action } },
  prohibited: { ...everything, prohibited: [{ ...everything.prohibited[0], action }] },
}

test('every detector has a row, and every row a detector', () => {
  expect(detectorRows.map(({ name }) => name)).toEqual(detectors.map(({ name }) => name))
})

describe('every file of detectors', () => {
  const directory = 'src/inspection/detectors'
  const files = readdirSync(join(root, directory))
    .filter((file) => /\bDetector\b.* from '\.\.\/detector\.js'/.test(read(join(directory, file))))
    .map((file) => file.replace(/\.ts$/, ''))

  test('is used', () => {
    const unused = files.filter((file) => !detectors.some(({ name }) => name.startsWith(file)))
    expect(unused).toEqual([])
  })

  test('has a test', () => {
    const untested = files.filter(
      (file) => !existsSync(join(root, `test/inspection/${file}.test.ts`)),
    )
    expect(untested).toEqual([])
  })

  test('is linked in docs/inspection.md', () => {
    const told = read('docs/inspection.md')
    expect(files.filter((file) => !told.includes(`](../${directory}/${file}.ts)`))).toEqual([])
  })
})

test.each(Object.entries(turnedOff))(
  'no detector of %s is left when its action is off',
  (category, rules) => {
    expect(detectors.some((detector) => detector.category === category)).toBe(true)
    const left = createDetectors(rules).filter((detector) => detector.category === category)
    expect(left.map(({ name }) => name)).toEqual([])
  },
)

// Of another length in the text itself, in its plain form and in its folded form.
const uneven = 'x\u0301\u200bﷺ '.repeat(20)

describe.each(detectorRows)('the $name detector', ({ name, beginnings, sample, gapUnits }) => {
  const detectorOf = (): Detector => {
    const found = detectors.find((detector) => detector.name === name)
    if (found === undefined) throw new Error(`no detector ${name}`)
    return found
  }
  const gap = '\n'.repeat(gapUnits)
  const repeated = `${uneven}${`${gap}${sample}`.repeat(3)}${gap}${uneven}`
  const texts = [sample, repeated, ...beginnings.map((unit) => uneven + unit.repeat(64))]

  test('finds its sample at each place, and nothing beside it', () => {
    const hits = hitsOf(detectorOf(), repeated)
    expect(hits).toHaveLength(3)
    hits.forEach(({ span: [start, end] }, index) => {
      const from = uneven.length + index * (gap.length + sample.length) + gap.length
      expect(start).toBeGreaterThanOrEqual(from)
      expect(end).toBeLessThanOrEqual(from + sample.length)
    })
  })

  test('leads to a finding of its category, and to none when its action is off', () => {
    const { category } = detectorOf()
    const segments = [{ provenance: 'user', text: sample }] as const
    const found = findingsOf(compileInspection(everything).inspect(segments))
    expect(found.map((finding) => finding.category)).toContain(category)
    const left = findingsOf(compileInspection(turnedOff[category]).inspect(segments))
    expect(left.map((finding) => finding.category)).not.toContain(category)
  })

  test('holds no state between calls', () => {
    const detector = detectorOf()
    for (const text of texts) {
      const hits = hitsOf(detector, text)
      expect(hitsOf(detector, text)).toEqual(hits)
      hitsOf(detector, sample)
      expect(hitsOf(detector, text)).toEqual(hits)
    }
  })

  test('reports scores from 0 to 1 and spans of the form that it names', () => {
    for (const text of texts) {
      const view = createView(text)
      for (const { level, start, end, score } of hitsOf(detectorOf(), text)) {
        const form = level === 'source' ? text : view[level]
        expect(score).toBeGreaterThanOrEqual(0)
        expect(score).toBeLessThanOrEqual(1)
        expect(start).toBeGreaterThanOrEqual(0)
        expect(end).toBeGreaterThan(start)
        expect(end).toBeLessThanOrEqual(form.length)
      }
    }
  })
})

test('the uneven text has three lengths', () => {
  const { plain, folded } = createView(uneven)
  expect(new Set([uneven.length, plain.length, folded.length]).size).toBe(3)
})
