import { describe, expect, test } from 'vitest'
import { createGenerationRates } from '../../src/llm/generation-rate.js'
import type { GenerationKind, GenerationRates } from '../../src/llm/generation-rate.js'

type Observed = Parameters<GenerationRates['observe']>[1]

const streamed: GenerationKind = { model: 'llama', dialect: 'openai', stream: true }
const report: Observed = { outputTokens: 500, bytes: 100_000, durationMs: 20_000, heldUp: false }

/** What is seen of an answer to one choice. */
const trace = (bytes: number, durationMs: number) => ({ bytes, durationMs, choices: 1 })

function observeTimes(count: number, kind: GenerationKind = streamed, what = report) {
  const rates = createGenerationRates()
  for (let index = 0; index < count; index += 1) rates.observe(kind, what)
  return rates
}

describe('the estimate of an answer without usage', () => {
  test('there is none before 20 reports and 10,000 output tokens', () => {
    expect(observeTimes(19).estimate(streamed, trace(1000, 1000))).toBeUndefined()
    expect(observeTimes(20).estimate(streamed, trace(1000, 1000))).toBe(25)
    const short = { outputTokens: 100, bytes: 20_000, durationMs: 4000, heldUp: false }
    expect(observeTimes(99, streamed, short).estimate(streamed, trace(1, 1))).toBeUndefined()
    expect(observeTimes(100, streamed, short).estimate(streamed, trace(1, 1))).toBe(1)
  })

  test('learns nothing from an answer of fewer than 64 tokens', () => {
    const first = { outputTokens: 63, bytes: 63, durationMs: 63, heldUp: false }
    expect(observeTimes(1000, streamed, first).estimate(streamed, trace(1, 1))).toBeUndefined()
    const enough = { ...first, outputTokens: 64 }
    expect(observeTimes(1000, streamed, enough).estimate(streamed, trace(63, 0))).toBe(64)
  })

  test('lets the duration count for each choice, and the bytes once', () => {
    const rates = observeTimes(20)
    const four = { bytes: 1000, durationMs: 1000, choices: 4 }
    expect(rates.estimate(streamed, four)).toBe(100)
    expect(rates.estimate(streamed, { ...four, durationMs: 0 })).toBe(5)
  })

  test('is the larger of bytes and duration at their rates', () => {
    const rates = observeTimes(20)
    expect(rates.estimate(streamed, trace(10_000, 1000))).toBe(50)
    expect(rates.estimate(streamed, trace(200, 3000))).toBe(75)
  })

  test('is rounded up, and nothing for nothing', () => {
    const rates = observeTimes(20)
    expect(rates.estimate(streamed, trace(1, 0))).toBe(1)
    expect(rates.estimate(streamed, trace(0, 0))).toBe(0)
  })

  test('takes the highest rate, not the mean', () => {
    const rates = observeTimes(63)
    rates.observe(streamed, { outputTokens: 100, bytes: 2000, durationMs: 4000, heldUp: false })
    expect(rates.estimate(streamed, trace(2000, 0))).toBe(100)
  })

  test('is not pushed down by many small, slow and swollen answers', () => {
    const rates = observeTimes(64)
    for (let index = 0; index < 10_000; index += 1) {
      rates.observe(streamed, {
        outputTokens: 64,
        bytes: 6_400_000,
        durationMs: 3_840_000,
        heldUp: false,
      })
    }
    // A whole answer of 8,000 tokens, left just before its last event.
    expect(rates.estimate(streamed, trace(1_600_000, 80_000))).toBe(8000)
  })

  test('forgets after a million output tokens, twice, and never within 64 reports', () => {
    const fast = { outputTokens: 100, bytes: 2000, durationMs: 400, heldUp: false }
    const long = { outputTokens: 10_000, bytes: 2_000_000, durationMs: 400_000, heldUp: false }
    const rates = observeTimes(1, streamed, fast)
    const observeLong = (count: number): void => {
      for (let index = 0; index < count; index += 1) rates.observe(streamed, long)
    }
    observeLong(199)
    expect(rates.estimate(streamed, trace(2000, 400))).toBe(100)
    observeLong(1)
    expect(rates.estimate(streamed, trace(2000, 400))).toBe(10)

    const huge = {
      outputTokens: 1_000_000,
      bytes: 200_000_000,
      durationMs: 40_000_000,
      heldUp: false,
    }
    const few = observeTimes(1, streamed, fast)
    for (let index = 0; index < 64; index += 1) few.observe(streamed, huge)
    expect(few.estimate(streamed, trace(2000, 400))).toBe(100)
  })

  test('learns no time until 20 reports came that no client held up, but then from those that one may have', () => {
    const held = { ...report, durationMs: 10_000, heldUp: true }
    const rates = observeTimes(1000, streamed, held)
    expect(rates.estimate(streamed, trace(0, 1000))).toBeUndefined()
    for (let index = 0; index < 20; index += 1) rates.observe(streamed, report)
    expect(rates.estimate(streamed, trace(0, 1000))).toBe(50)
  })

  test('learns of bytes alone from a report without a duration, and estimates nothing by it alone', () => {
    const untimed = { ...report, bytes: 50_000, durationMs: undefined }
    const rates = observeTimes(1000, streamed, untimed)
    expect(rates.estimate(streamed, trace(1000, 1000))).toBeUndefined()
    for (let index = 0; index < 20; index += 1) rates.observe(streamed, report)
    expect(rates.estimate(streamed, trace(1000, 0))).toBe(10)
    expect(rates.estimate(streamed, trace(0, 1000))).toBe(25)
  })

  test('learns nothing from a report without output, bytes or duration', () => {
    const rates = createGenerationRates()
    for (let index = 0; index < 100; index += 1) {
      rates.observe(streamed, { ...report, outputTokens: 0 })
      rates.observe(streamed, { ...report, bytes: 0 })
      rates.observe(streamed, { ...report, durationMs: 0 })
      rates.observe(streamed, { ...report, outputTokens: Number.NaN })
    }
    expect(rates.estimate(streamed, trace(1000, 1000))).toBeUndefined()
  })
})

describe('what was learnt of one kind', () => {
  test.each([
    ['another model', { ...streamed, model: 'qwen' }],
    ['another dialect', { ...streamed, dialect: 'anthropic' }],
    ['answers in one piece', { ...streamed, stream: false }],
  ] as const)('says nothing of %s', (_, other) => {
    expect(observeTimes(64).estimate(other, trace(1, 1))).toBeUndefined()
  })

  test('goes when 1,024 others were observed since', () => {
    const rates = observeTimes(20)
    for (let index = 0; index < 1023; index += 1) {
      rates.observe({ ...streamed, model: `other-${String(index)}` }, report)
    }
    expect(rates.estimate(streamed, trace(20_000, 1))).toBe(100)
    rates.observe({ ...streamed, model: 'one too many' }, report)
    expect(rates.estimate(streamed, trace(20_000, 1))).toBeUndefined()
  })

  test('stays when it was observed again in between', () => {
    const rates = observeTimes(20)
    for (let index = 0; index < 2000; index += 1) {
      rates.observe({ ...streamed, model: `other-${String(index)}` }, report)
      if (index % 500 === 0) rates.observe(streamed, report)
    }
    expect(rates.estimate(streamed, trace(20_000, 1))).toBe(100)
  })
})
