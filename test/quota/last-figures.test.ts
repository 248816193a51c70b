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

test('what does not fit is known where it was told when all of it leaves', () => {
  const quota = quotaOf({ limit: 100 })
  const timeline = timelines(quota.window)
  const last = createLastFigures(() => 0)
  const [before, now] = [timeline.cellAt(atMs) - 1, timeline.cellAt(atMs)]
  // Of 60 that are spent only the newest cell was told.
  last.put(holdOf(quota, 0), timeline, `60 0 0 0 0 ${String(now)} 20 0`, atMs)
  expect(last.look(holdOf(quota, 40), timeline, atMs)).toMatchObject({ spent: 60 })
  expect(last.look(holdOf(quota, 41), timeline, atMs)).toBe('unknown')
  const all = `60 0 0 0 0 ${String(before)} 40 0 ${String(now)} 20 0`
  last.put(holdOf(quota, 0), timeline, all, atMs)
  expect(last.look(holdOf(quota, 41), timeline, atMs)).toMatchObject({ spent: 60 })
})
