import { describe, expect, test } from 'vitest'
import type { End } from '../../src/quota/end.js'
import { amountAtEnd, amountToReserve, quotaUnits } from '../../src/quota/units.js'

const estimate = { inputTokens: 70, outputTokens: 30 }
const settled: End = { kind: 'settled', inputTokens: 65, outputTokens: 20 }
const estimated: End = { kind: 'estimated', inputTokens: 65, outputTokens: 20 }
const released: End = { kind: 'released' }

describe('a unit', () => {
  test.each([
    ['tokens', 100, 85],
    ['requests', 1, 1],
    ['in_flight', 1, 1],
  ] as const)('of %s reserves %d and comes to %d', (unit, reserved, actual) => {
    expect(amountToReserve(unit, estimate)).toBe(reserved)
    expect(amountAtEnd(unit, settled)).toBe(actual)
    expect(amountAtEnd(unit, estimated)).toBe(actual)
    expect(amountAtEnd(unit, released)).toBe(0)
  })

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
