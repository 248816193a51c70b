import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { End } from '../../src/quota/end.js'
import { amountAtEnd, amountToReserve, quotaUnits, quotaUnitNames } from '../../src/quota/units.js'
import type { QuotaUnitName } from '../../src/quota/units.js'

const estimate = { inputTokens: 70, outputTokens: 30 }
const settled: End = { kind: 'settled', inputTokens: 65, outputTokens: 20 }
const estimated: End = { kind: 'estimated', inputTokens: 65, outputTokens: 20 }
const released: End = { kind: 'released' }

/** What each unit holds at the estimate, and what it comes to. A new one needs a line here. */
const amounts: Readonly<Record<QuotaUnitName, readonly [reserved: number, actual: number]>> = {
  tokens: [100, 85],
  requests: [1, 1],
  in_flight: [1, 1],
}

describe('a unit', () => {
  test.each(quotaUnitNames)('of %s reserves and comes to what it should', (unit) => {
    const [reserved, actual] = amounts[unit]
    expect(amountToReserve(unit, estimate)).toBe(reserved)
    expect(amountAtEnd(unit, settled)).toBe(actual)
    expect(amountAtEnd(unit, estimated)).toBe(actual)
    expect(amountAtEnd(unit, released)).toBe(0)
  })

  test.each(quotaUnitNames)(
    'of %s is whole, and never more than held where the end is as estimated',
    (unit) => {
      fc.assert(
        fc.property(fc.nat(), fc.nat(), (inputTokens, outputTokens) => {
          const held = amountToReserve(unit, { inputTokens, outputTokens })
          const actual = amountAtEnd(unit, { kind: 'settled', inputTokens, outputTokens })
          expect(Number.isSafeInteger(held) && held >= 0).toBe(true)
          expect(Number.isSafeInteger(actual) && actual >= 0).toBe(true)
          expect(actual).toBeLessThanOrEqual(held)
        }),
      )
    },
  )

  test('stays a whole number where the sum is beyond 2^53', () => {
    const most = Number.MAX_SAFE_INTEGER
    expect(amountToReserve('tokens', { inputTokens: most, outputTokens: most })).toBe(most)
    const end: End = { kind: 'settled', inputTokens: most, outputTokens: 2 }
    expect(amountAtEnd('tokens', end)).toBe(most)
  })

  test('is one of the closed list that a policy file may name', () => {
    expect(Object.keys(quotaUnits)).toEqual(['tokens', 'requests', 'in_flight'])
  })
})
