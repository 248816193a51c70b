import { expect, test } from 'vitest'
import type { Quota } from '../../src/quota/quota.js'
import { createLastFigures } from '../../src/quota/redis/last-figures.js'
import { createTimelines } from '../../src/quota/windows/windows.js'
import { calendar, holdOf, quotaOf } from './quotas.js'

const timelines = createTimelines()
const atMs = Date.parse('2026-02-02T00:00:00Z')

/** What is told at moment 5000 of a clock, and what is said of it so much later. */
function told(quota: Quota) {
  const [hold, timeline] = [holdOf(quota, 1), timelines(quota.window)]
  let nowMs = 5000
  const last = createLastFigures(() => nowMs)
  last.put(hold, timeline, '', atMs)
  return (laterMs: number) => {
    nowMs = 5000 + laterMs
    return last.look(hold, timeline, atMs)
  }
}

test('what was told of a partition is believed for a second', () => {
  for (const window of [quotaOf().window, calendar('day')]) {
    const look = told(quotaOf({ window }))
    expect(look(1000)).toBeUndefined()
    expect(look(1001)).toBe('unknown')
  }
})

test('what was told of an open window is believed for a tenth of it', () => {
  const look = told(quotaOf({ unit: 'in_flight', window: { kind: 'open' } }))
  expect(look(100)).toBeUndefined()
  expect(look(101)).toBe('unknown')
})
