import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createExpiringMap } from '../../src/identity/expiring-map.js'
import { createFakeClock } from './identity-fixture.js'

const lifeMs = 100
const maxEntries = 3

test('an entry is there until its life is over, and renewed by being set', () => {
  const clock = createFakeClock()
  const map = createExpiringMap<number>({ maxEntries, lifeMs, clock })
  map.set('a', 1)
  clock.advance(60)
  map.set('a', 2)
  clock.advance(99)
  expect(map.get('a')).toBe(2)
  clock.advance(1)
  expect(map.get('a')).toBeUndefined()
})

test('a leap of the wall clock ends no life', () => {
  const clock = createFakeClock()
  const map = createExpiringMap<number>({ maxEntries, lifeMs, clock })
  map.set('a', 1)
  clock.jump(1_000_000)
  expect(map.get('a')).toBe(1)
})

test('the dead are freed when something is put in', () => {
  const clock = createFakeClock()
  const map = createExpiringMap<number>({ maxEntries, lifeMs, clock })
  map.set('a', 1)
  map.set('b', 1)
  clock.advance(lifeMs)
  expect(map.size()).toBe(2)
  map.set('c', 1)
  expect(map.size()).toBe(1)
})

test('behaves as a list of the last entries that are set and young enough', () => {
  const step = fc.record({
    key: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
    waitMs: fc.constantFrom(0, 0, 1, 49, 50, 100),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const clock = createFakeClock()
      const map = createExpiringMap<number>({ maxEntries, lifeMs, clock })
      let model: { key: string; value: number; setAtMs: number }[] = []
      steps.forEach(({ key, waitMs }, value) => {
        clock.advance(waitMs)
        const nowMs = clock.monotonicMs()
        map.set(key, value)
        model = [...model.filter((entry) => entry.key !== key), { key, value, setAtMs: nowMs }]
        model = model.filter((entry) => nowMs < entry.setAtMs + lifeMs).slice(-maxEntries)
        for (const each of ['a', 'b', 'c', 'd', 'e']) {
          expect(map.get(each)).toBe(model.find((entry) => entry.key === each)?.value)
        }
        expect(map.size()).toBe(model.length)
      })
    }),
  )
})
