import { expect, test } from 'vitest'
import { createRedisClock } from '../../src/store/redis-clock.js'

test('knows nothing before the first answer', () => {
  expect(createRedisClock().atMonotonic(5)).toBeUndefined()
})

test('is never ahead of Redis, whenever between sending and receiving the answer was made', () => {
  for (const madeAtMs of [10, 12.5, 15]) {
    const clock = createRedisClock()
    clock.learn(Math.floor(1000 + madeAtMs), 10, 15)
    expect(clock.atMonotonic(20)).toBeLessThanOrEqual(1020)
    expect(clock.atMonotonic(20)).toBeGreaterThanOrEqual(1014)
  }
})

test('learns from each answer, and a slow one spoils nothing', () => {
  const clock = createRedisClock()
  clock.learn(1050, 0, 100)
  expect(clock.atMonotonic(100)).toBe(1050)
  clock.learn(1201, 200, 202)
  expect(clock.atMonotonic(300)).toBe(1299)
  clock.learn(1350, 300, 400)
  expect(clock.atMonotonic(400)).toBe(1399)
})

test.each([3_600_000, -3_600_000])('follows a clock of Redis that was set by %d ms', (byMs) => {
  const clock = createRedisClock()
  clock.learn(10_000_000, 10, 11)
  clock.learn(10_000_100 + byMs, 110, 111)
  expect(clock.atMonotonic(111)).toBe(10_000_100 + byMs)
})
