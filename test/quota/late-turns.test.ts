import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createBuckets } from '../../src/quota/redis/buckets.js'
import { createCalendarSource } from '../../src/quota/redis/calendars.js'
import { loadRedisScripts } from '../../src/quota/redis/scripts.js'
import { createBucketTurns } from '../../src/quota/slices/bucket-turns.js'
import { createTimelines } from '../../src/quota/windows/windows.js'
import { holdOf, quotaOf } from './quotas.js'

// Upkeep looks for what is late too, but it waits for the turns before, which may take the whole timeout.

beforeEach(() => vi.useFakeTimers())
afterEach(() => vi.useRealTimers())

function openTurns(answer: Promise<unknown>) {
  const timelines = createTimelines()
  const { turn: script, turnWhenFull: scriptWhenFull } = loadRedisScripts()
  let late = 0
  const turns = createBucketTurns<string>({
    ...{ script, scriptWhenFull, buckets: createBuckets(1), bucket: 0, moments: 'redis' },
    ...{ owner: 'this process', share: { one: 1, all: 1 }, lifeMs: 1000 },
    ask: () => answer as Promise<never>,
    calendars: createCalendarSource(),
    clock: { monotonicMs: () => 0 },
    nowMs: () => 0,
    timelineOf: ({ quota }) => timelines(quota.window),
    onAdopted: () => undefined,
    onTaken: () => undefined,
    onSetAside: () => undefined,
    onGivenUp: () => undefined,
    onLate: () => (late += 1),
  })
  turns.take({ hold: holdOf(quotaOf(), 1), amount: 100, least: 1, leaseMs: 60_000 })
  return { flushed: turns.flush('all'), late: () => late }
}

test('a turn that has no answer is looked at each half second, and no more when it has one', async () => {
  let resolve = (_: unknown): void => undefined
  const { flushed, late } = openTurns(new Promise((answered) => (resolve = answered)))
  await vi.advanceTimersByTimeAsync(500)
  expect(late()).toBe(0)
  await vi.advanceTimersByTimeAsync(50)
  expect(late()).toBe(1)
  await vi.advanceTimersByTimeAsync(1000)
  expect(late()).toBe(3)
  resolve(['turned', 0, [], []])
  await flushed
  expect(vi.getTimerCount()).toBe(0)
})

test('so is one that fails, which is looked at then', async () => {
  const { flushed, late } = openTurns(Promise.reject(new Error('lost')))
  await expect(flushed).rejects.toThrow('lost')
  expect(late()).toBe(1)
  expect(vi.getTimerCount()).toBe(0)
})
