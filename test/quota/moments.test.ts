import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createMoments } from '../../src/quota/memory/moments.js'

const startMs = Date.parse('2026-02-02T00:00:00Z')

test('are those of the calls, without a clock that cannot be set; an earlier one counts as the latest', () => {
  const moments = createMoments()
  const seen = [10, 5.9, 20.7, 0].map((atMs) => moments.of(startMs + atMs) - startMs)
  expect(seen).toEqual([10, 10, 20, 20])
  expect(moments.tick()).toBe(startMs + 20)
})

test('are those of the wall clock, however far it is set forward', () => {
  let tickMs = 7
  const moments = createMoments(() => tickMs)
  expect(moments.of(startMs)).toBe(startMs)
  tickMs += 1000
  expect(moments.of(startMs + 3_600_000)).toBe(startMs + 3_600_000)
})

test('go on while the wall clock is behind, in however small steps, and are its own again when it has caught up', () => {
  let tickMs = 0
  const moments = createMoments(() => tickMs)
  moments.of(startMs)
  const setBackMs = 3_600_000
  const at = (passedMs: number): number => {
    tickMs = passedMs
    return moments.of(startMs - setBackMs + passedMs) - startMs
  }
  for (let passedMs = 0; passedMs <= 10; passedMs += 0.1) at(passedMs)
  expect(at(10)).toBe(9)
  expect(at(60_000)).toBe(59_400)
  expect(at(100 * setBackMs - 1000)).toBe(99 * setBackMs - 990)
  expect(at(100 * setBackMs + 1)).toBe(99 * setBackMs + 1)
  expect(at(101 * setBackMs)).toBe(100 * setBackMs)
})

test('are moments as others, wherever the clock had been', () => {
  let tickMs = 0
  const moments = createMoments(() => tickMs)
  moments.of(1e14)
  tickMs = 1e6
  expect(moments.of(startMs)).toBe(1e14)
  expect(() => moments.of(1e14 + 1)).toThrow(RangeError)
  expect(() => moments.of(NaN)).toThrow(RangeError)
})

test('are the latest of all that were shown, each gone on since', () => {
  const step = fc.tuple(fc.nat({ max: 100_000 }), fc.integer({ min: -10_000, max: 10_000 }))
  fc.assert(
    fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
      let [tickMs, wallMs] = [-5000.5, startMs]
      const moments = createMoments(() => tickMs)
      const shown: { tickMs: number; wallMs: number }[] = []
      for (const [passedTenths, setMs] of steps) {
        tickMs += passedTenths / 10
        wallMs += Math.floor(passedTenths / 10) + setMs
        shown.push({ tickMs, wallMs })
        const goneOn = shown.map((then) => then.wallMs + Math.floor((tickMs - then.tickMs) * 0.99))
        expect(moments.of(wallMs)).toBe(Math.max(...goneOn))
      }
    }),
  )
})
