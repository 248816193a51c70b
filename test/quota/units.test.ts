import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { costMicros } from '../../src/prices.js'
import type { Prices } from '../../src/prices.js'
import type { End } from '../../src/quota/end.js'
import {
  amountAtEnd,
  amountToReserve,
  formatAmount,
  quotaUnits,
  quotaUnitNames,
} from '../../src/quota/units.js'
import type { QuotaUnitName } from '../../src/quota/units.js'

const prices: Prices = {
  inputPicos: 2_000_000,
  cachedInputPicos: 1_000_000,
  cacheWritePicos: 2_500_000,
  outputPicos: 10_000_000,
}
const estimate = { inputTokens: 70, outputTokens: 30, prices }
const used = { inputTokens: 65, outputTokens: 20, costMicros: 330 }
const settled: End = { kind: 'settled', ...used }
const estimated: End = { kind: 'estimated', ...used }
const released: End = { kind: 'released' }

/** What each unit holds at the estimate, and what it comes to. A new one needs a line here. */
const amounts: Readonly<Record<QuotaUnitName, readonly [reserved: number, actual: number]>> = {
  tokens: [100, 85],
  input_tokens: [70, 65],
  output_tokens: [30, 20],
  requests: [1, 1],
  in_flight: [1, 1],
  // The input at the dearest price that it may turn out to have.
  cost: [70 * 2.5 + 30 * 10, 330],
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
          const held = amountToReserve(unit, { inputTokens, outputTokens, prices })
          const all = { inputTokens, outputTokens, cachedTokens: 0, cacheWriteTokens: 0 }
          const end = { ...all, kind: 'settled', costMicros: costMicros(prices, all) } as const
          const actual = amountAtEnd(unit, end) ?? NaN
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

  test('of cost has no room for what has no price, and does not know what it came to', () => {
    expect(amountToReserve('cost', { inputTokens: 0, outputTokens: 0 })).toBe(
      Number.MAX_SAFE_INTEGER,
    )
    const unpriced: End = { kind: 'settled', inputTokens: 1, outputTokens: 1 }
    expect(amountAtEnd('cost', unpriced)).toBeUndefined()
  })

  test('is told as the number that it is, and money in its currency', () => {
    const told = quotaUnitNames.map((unit) => formatAmount(unit, 2_500_000))
    expect(new Set(told)).toEqual(new Set(['2500000', '2.50']))
    expect(formatAmount('cost', 2_500_000)).toBe('2.50')
  })

  test('is one of the closed list that a policy file may name', () => {
    expect(Object.keys(quotaUnits)).toEqual([
      'tokens',
      'input_tokens',
      'output_tokens',
      'requests',
      'in_flight',
      'cost',
    ])
  })
})
