import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatMicros, MAX_MICROS, toMicros } from '../src/money.js'

describe('an amount of money', () => {
  test('is whole micro-units, by what was written and not by its double', () => {
    expect(toMicros(25.5)).toBe(25_500_000)
    expect(toMicros(0.000001)).toBe(1)
    // 0.29 * 1,000,000 is 290,000 only after rounding, 8.41 * 1,000,000 is not 8,410,000 at all.
    expect(toMicros(0.29)).toBe(290_000)
    expect(toMicros(8.41)).toBe(8_410_000)
    expect(toMicros(999_999_999.999999)).toBe(MAX_MICROS)
    expect(toMicros(0)).toBe(0)
  })

  test.each([-1, 0.0000001, 1.0000005, 1e9, 1e21, NaN, Infinity])('is none: %d', (amount) => {
    expect(toMicros(amount)).toBeUndefined()
  })

  test.each([
    [25_500_000, '25.50'],
    [42, '0.000042'],
    [0, '0.00'],
    [1_000_000, '1.00'],
    [1_234_500, '1.2345'],
    [Number.MAX_SAFE_INTEGER, '9007199254.740991'],
  ])('is told: %d micro-units as %s', (micros, text) => {
    expect(formatMicros(micros)).toBe(text)
  })

  test('reads back as it was told', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: MAX_MICROS }), (micros) => {
        expect(toMicros(Number(formatMicros(micros)))).toBe(micros)
      }),
    )
  })
})
