import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { MAX_MICROS, toMicros } from '../src/money.js'
import { costMicros, mostCostMicros } from '../src/prices.js'
import type { Prices } from '../src/prices.js'
import { runs } from './runs.js'

const prices: Prices = {
  inputPicos: 3_000_000,
  cachedInputPicos: 300_000,
  cacheWritePicos: 3_750_000,
  outputPicos: 15_000_000,
}

function used(changes: Partial<Parameters<typeof costMicros>[1]>) {
  return { inputTokens: 0, cachedTokens: 0, cacheWriteTokens: 0, outputTokens: 0, ...changes }
}

describe('the cost of a request', () => {
  test('is that of each kind of token by its own price', () => {
    expect(costMicros(prices, used({ inputTokens: 1000 }))).toBe(3000)
    expect(costMicros(prices, used({ inputTokens: 1000, cachedTokens: 1000 }))).toBe(300)
    expect(costMicros(prices, used({ inputTokens: 1000, cacheWriteTokens: 1000 }))).toBe(3750)
    expect(costMicros(prices, used({ outputTokens: 1000 }))).toBe(15_000)
    const all = { inputTokens: 1000, cachedTokens: 300, cacheWriteTokens: 200, outputTokens: 7 }
    expect(costMicros(prices, all)).toBe(500 * 3 + 300 * 0.3 + 200 * 3.75 + 7 * 15)
  })

  test('counts no more cached tokens than there was input, and the dearer ones first', () => {
    const all = used({ inputTokens: 1000, cachedTokens: 5000, cacheWriteTokens: 600 })
    expect(costMicros(prices, all)).toBe(600 * 3.75 + 400 * 0.3)
    expect(costMicros(prices, used({ cachedTokens: 9, cacheWriteTokens: 9 }))).toBe(0)
  })

  test('is rounded up once, not for each kind', () => {
    // A third of a micro-unit each.
    const thirds: Prices = {
      inputPicos: 333_333,
      cachedInputPicos: 333_333,
      cacheWritePicos: 333_333,
      outputPicos: 333_333,
    }
    const one = { inputTokens: 2, cachedTokens: 1, cacheWriteTokens: 0, outputTokens: 1 }
    expect(costMicros(thirds, one)).toBe(1)
    expect(costMicros(thirds, { ...one, outputTokens: 2 })).toBe(2)
    expect(costMicros({ ...thirds, inputPicos: 1 }, used({ inputTokens: 1 }))).toBe(1)
  })

  test('is the most that a double holds where it would be more', () => {
    const most = Number.MAX_SAFE_INTEGER
    const dear = { ...prices, outputPicos: MAX_MICROS }
    expect(costMicros(dear, used({ outputTokens: most }))).toBe(most)
  })

  test('is the exact sum of what the file says, by rational numbers', () => {
    // Decimals as they are written, so that nothing here passes through a product of doubles.
    const written = fc
      .tuple(fc.integer({ min: 0, max: 99_999 }), fc.integer({ min: 0, max: 999_999 }))
      .map(([whole, decimals]) => `${String(whole)}.${String(decimals).padStart(6, '0')}`)
    const tokens = fc.oneof(fc.nat({ max: 5000 }), fc.integer({ min: 0, max: 2 ** 40 }))
    fc.assert(
      fc.property(
        fc.tuple(written, written, written, written),
        fc.tuple(tokens, tokens, tokens, tokens),
        (texts, [plain, cached, write, output]) => {
          const [inputPicos, cachedInputPicos, cacheWritePicos, outputPicos] = texts.map(
            (text) => toMicros(Number(text)) ?? NaN,
          ) as [number, number, number, number]
          const cost = costMicros(
            { inputPicos, cachedInputPicos, cacheWritePicos, outputPicos },
            {
              inputTokens: plain + cached + write,
              cachedTokens: cached,
              cacheWriteTokens: write,
              outputTokens: output,
            },
          )
          // tokens x price / 10^6, all over 10^6 x 10^6.
          const numerator = [plain, cached, write, output].reduce(
            (sum, count, index) =>
              sum + BigInt(count) * BigInt((texts[index] ?? '').replace('.', '')),
            0n,
          )
          const micros = (numerator + 999_999n) / 1_000_000n
          const most = BigInt(Number.MAX_SAFE_INTEGER)
          expect(BigInt(cost)).toBe(micros > most ? most : micros)
        },
      ),
      { numRuns: runs(1000) },
    )
  })

  test('is never more than was reserved for as many tokens, whatever the cache did', () => {
    const picos = fc.nat({ max: 1e8 })
    const tokens = fc.nat({ max: 1e6 })
    fc.assert(
      fc.property(
        fc.record({
          inputPicos: picos,
          cachedInputPicos: picos,
          cacheWritePicos: picos,
          outputPicos: picos,
        }),
        fc.record({
          inputTokens: tokens,
          cachedTokens: tokens,
          cacheWriteTokens: tokens,
          outputTokens: tokens,
        }),
        (any, all) => {
          const most = mostCostMicros(any, all.inputTokens, all.outputTokens)
          expect(costMicros(any, all)).toBeLessThanOrEqual(most)
        },
      ),
      { numRuns: runs(500) },
    )
  })
})
