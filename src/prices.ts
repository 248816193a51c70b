/**
 * What a token of a model costs, in pico-units (10^-12) of the operator's currency: the same number as micro-units per
 * million tokens, which is how prices are written. Whole, 0 to `MAX_MICROS`.
 */
export interface Prices {
  readonly inputPicos: number
  /** Of input that was read from the engine's cache. */
  readonly cachedInputPicos: number
  /** Of input that was written to the engine's cache. */
  readonly cacheWritePicos: number
  readonly outputPicos: number
}

/** What a request used. Whole tokens, 0 to 2^53 - 1. */
export interface UsedTokens {
  /** All of them; the two below are part of it, and count for no more than it has. */
  readonly inputTokens: number
  readonly cachedTokens: number
  readonly cacheWriteTokens: number
  readonly outputTokens: number
}

const PICOS_PER_MICRO = 1_000_000n

/** What a request has cost in micro-units: summed exactly and rounded up once, or the most that a double holds. */
export function costMicros(prices: Prices, used: UsedTokens): number {
  const { inputTokens, outputTokens } = used
  const writtenTokens = Math.min(used.cacheWriteTokens, inputTokens)
  const cachedTokens = Math.min(used.cachedTokens, inputTokens - writtenTokens)
  const plainTokens = inputTokens - writtenTokens - cachedTokens
  const picos =
    product(plainTokens, prices.inputPicos) +
    product(cachedTokens, prices.cachedInputPicos) +
    product(writtenTokens, prices.cacheWritePicos) +
    product(outputTokens, prices.outputPicos)
  const micros = (picos + PICOS_PER_MICRO - 1n) / PICOS_PER_MICRO
  return Number(micros > MOST_MICROS ? MOST_MICROS : micros)
}

/** The most that so many tokens can cost: nobody knows at admission what the engine's cache holds. */
export function mostCostMicros(prices: Prices, inputTokens: number, outputTokens: number): number {
  const inputPicos = Math.max(prices.inputPicos, prices.cachedInputPicos, prices.cacheWritePicos)
  return costMicros(
    { ...prices, inputPicos },
    { inputTokens, cachedTokens: 0, cacheWriteTokens: 0, outputTokens },
  )
}

const MOST_MICROS = BigInt(Number.MAX_SAFE_INTEGER)

function product(tokens: number, picos: number): bigint {
  return BigInt(tokens) * BigInt(picos)
}
