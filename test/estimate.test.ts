import { describe, expect, test } from 'vitest'
import { boundsOf, outputFor, sizeOf, templateTokens } from '../src/estimate.js'
import type { Admitted } from '../src/policy.js'
import { examplePolicy } from './example-policy.js'

/** A call that was admitted to a model of 8,192 tokens of context. */
function admitted(outputTokens: number | undefined, injectCapTokens?: number): Admitted {
  const { models, grants } = examplePolicy()
  const [model, grant] = [models[0], grants[0]]
  if (model === undefined || grant === undefined) throw new Error('the example has both')
  return {
    kind: 'admitted',
    model,
    grant,
    outputTokens,
    injectCapTokens,
    injectStreamUsage: false,
  }
}

describe('the output that is reserved', () => {
  test('is what the caller named, for each of its choices', () => {
    expect(outputFor(admitted(100), 3, 50)).toEqual({ totalTokens: 300, injectTokens: undefined })
  })

  test('is the cap that is put in, for each choice, while the cap itself is for one', () => {
    expect(outputFor(admitted(100, 100), 3, 50)).toEqual({ totalTokens: 300, injectTokens: 100 })
  })

  test('is the rest of the context where nobody named a cap, and all of it for each further choice', () => {
    expect(outputFor(admitted(undefined), 1, 192).totalTokens).toBe(8000)
    expect(outputFor(admitted(undefined), 2, 192).totalTokens).toBe(8000 + 8192)
  })

  test('without a cap is not lowered by an input that only seems long', () => {
    // Of 8,000 counted tokens the engine sees 10, and each of the 4 choices can fill the context.
    const countedTokens = 8000
    const held = countedTokens + outputFor(admitted(undefined), 4, countedTokens).totalTokens
    expect(held).toBeGreaterThanOrEqual(10 + 4 * (8192 - 10))
  })

  test('is no more than the context has room for where the cap is ours to choose', () => {
    expect(outputFor(admitted(1000, 1000), 2, 8000)).toEqual({
      totalTokens: 2 * 192,
      injectTokens: 192,
    })
  })

  test('is never nothing or less, however long the prompt', () => {
    expect(outputFor(admitted(undefined), 1, 9000).totalTokens).toBe(1)
    expect(outputFor(admitted(1000, 1000), 1, 9000)).toEqual({ totalTokens: 1, injectTokens: 1 })
  })
})

test('an output beyond what a number can hold is the largest that it can', () => {
  const ask = { choices: (2 ** 31 - 1) * 1000, markupTokens: 0 }
  for (const admission of [admitted(undefined), admitted(2 ** 31 - 1), admitted(8000, 8000)]) {
    expect(sizeOf(admission, ask, 0).estimate.outputTokens).toBe(Number.MAX_SAFE_INTEGER)
  }
})

test('the chat template costs some tokens besides the marks that were counted', () => {
  expect(templateTokens(0)).toBeGreaterThan(0)
  expect(templateTokens(40)).toBe(templateTokens(0) + 40)
})

describe('before its text is counted a request holds', () => {
  const bounds = (admission: Admitted, segmentBytes: number) =>
    boundsOf(admission, { choices: 2, markupTokens: 5, segmentBytes })

  test('no less than the template and no more than a token for each byte', () => {
    expect(bounds(admitted(100), 1000)).toEqual({
      least: { inputTokens: templateTokens(5), outputTokens: 200 },
      most: { inputTokens: templateTokens(5) + 1000, outputTokens: 200 },
    })
  })

  test('between its bounds whatever is counted, in input and in output', () => {
    for (const admission of [admitted(undefined), admitted(1000), admitted(1000, 1000)]) {
      const { least, most } = bounds(admission, 8100)
      expect(least.outputTokens).toBe(
        sizeOf(admission, { choices: 2, markupTokens: 5 }, 8100).estimate.outputTokens,
      )
      for (const textTokens of [0, 1, 7000, 7500, 8099, 8100]) {
        const { estimate } = sizeOf(admission, { choices: 2, markupTokens: 5 }, textTokens)
        for (const key of ['inputTokens', 'outputTokens'] as const) {
          expect(estimate[key]).toBeGreaterThanOrEqual(least[key])
          expect(estimate[key]).toBeLessThanOrEqual(most[key])
        }
      }
    }
  })
})
